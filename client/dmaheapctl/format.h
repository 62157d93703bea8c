/* SPDX-License-Identifier: MIT */
/* Sizes and times, to and from people. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FORMAT_MAX 64

/* Reads "4096", "16K", "8M", "1G", "2T", with an optional "iB" after the letter; all of them powers of 1024. Returns 0, or
 * -EINVAL for anything else, -ERANGE for what does not fit. */
int parse_size(const char *s, uint64_t *ret);

/* Reads a plain decimal number up to max. Returns 0, -EINVAL, -ERANGE. */
int parse_unsigned(const char *s, uint64_t max, uint64_t *ret);

/* Reads "30", "30s", "500ms", "2min", "infinity" into microseconds. Returns 0, -EINVAL, -ERANGE. */
int parse_usec(const char *s, uint64_t *ret);

/* "8M", "1.5G"; with plain as a number of bytes. UINT64_MAX is "-" (no limit). Returns its buffer. */
const char *format_size(uint64_t size, bool plain, char buffer[static FORMAT_MAX]);

/* A number; UINT64_MAX is "-". */
const char *format_count(uint64_t n, char buffer[static FORMAT_MAX]);

/* "3h 12min", "4s": the two biggest units of a span in microseconds. */
const char *format_span(uint64_t usec, char buffer[static FORMAT_MAX]);
