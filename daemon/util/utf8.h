/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The kernel's names are bytes, but JSON's strings are UTF-8 (RFC 3629). */

/* Copies s, and writes each byte that is not part of a valid character as "\xNN". The copy is the caller's to free.
 * Returns NULL when out of memory. */
char *utf8_escape_invalid(const char *s);

/* Returns the first place at or after s where a character may begin.
 * Call it after a valid string was cut at any byte. */
const char *utf8_next_character(const char *s);
