/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "util/macro.h"

/* NULL-terminated arrays of strings. */

/* Frees the array and its strings. Accepts NULL, returns NULL. */
char **strv_free(char **strings);
DEFINE_CLEANUP(char *, strv_free);

/* Copies the array and its strings. Returns NULL when out of memory. */
char **strv_copy(char *const *strings);

/* True if one of the strings equals s. */
bool strv_contains(char *const *strings, const char *s);
