/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <syslog.h>

#include "util/macro.h"

/* Sets the level from $DMAHEAPD_LOG_LEVEL (emerg … debug, or 0 … 7; info by default). Finds out whether standard error
 * is connected to the journal: then each line gets the priority prefix of sd-daemon(3). */
void log_setup(void);

/* Logs one line. error: an errno value of either sign, which %m stands for; 0 if there is none. Returns it with a
 * negative sign. */
int log_internal(int level, int error, const char *format, ...) _printf_(3, 4);

#define log_debug(...) ((void) log_internal(LOG_DEBUG, 0, __VA_ARGS__))
#define log_info(...) ((void) log_internal(LOG_INFO, 0, __VA_ARGS__))
#define log_warning(...) ((void) log_internal(LOG_WARNING, 0, __VA_ARGS__))
#define log_error(...) ((void) log_internal(LOG_ERR, 0, __VA_ARGS__))

#define log_debug_errno(error, ...) log_internal(LOG_DEBUG, (error), __VA_ARGS__)
#define log_warning_errno(error, ...) log_internal(LOG_WARNING, (error), __VA_ARGS__)
#define log_error_errno(error, ...) log_internal(LOG_ERR, (error), __VA_ARGS__)
