/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The kernel's names are bytes; JSON's are UTF-8 (RFC 3629). */

/* A copy with each byte that is no part of valid UTF-8 as "\xNN". NULL when memory is short. */
char *utf8_escape_invalid(const char *s);

/* The first character that begins at s or after it: for who has cut a string at any byte. */
const char *utf8_next_character(const char *s);
