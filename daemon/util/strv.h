/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "macro.h"

/* NULL-terminated arrays of strings that own what they hold. */

char **strv_free(char **strings);
DEFINE_CLEANUP(char *, strv_free);

/* NULL when out of memory. */
char **strv_copy(char *const *strings);

bool strv_contains(char *const *strings, const char *s);
