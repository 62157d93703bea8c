/* SPDX-License-Identifier: MIT */
/* Sizes and times: reads them from the command line, prints them for people. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The size of a buffer for the format functions, which return their buffer. */
#define FORMAT_MAX 64

/* Reads a size in bytes: "4096", "16K", "8M", "1G", "2T", or "16KiB". The letters are powers of 1024. Returns 0;
 * -EINVAL for other text; -ERANGE if it does not fit 64 bits. */
int parse_size(const char *s, uint64_t *ret);

/* Reads a decimal number from 0 to max. Returns 0; -EINVAL for other text; -ERANGE for a larger number. */
int parse_unsigned(const char *s, uint64_t max, uint64_t *ret);

/* Reads a time into microseconds: "30" or "30s" (seconds), "500ms", "20us", "2min"; "infinity" is UINT64_MAX. Returns
 * 0; -EINVAL for other text; -ERANGE if it does not fit 64 bits. */
int parse_usec(const char *s, uint64_t *ret);

/* Prints a size in bytes as "8M" or "1.5G", rounded down; as a number of bytes if plain. UINT64_MAX (no limit) is
 * "-". */
const char *format_size(uint64_t size, bool plain, char buffer[static FORMAT_MAX]);

/* Prints a number. UINT64_MAX (no limit) is "-". */
const char *format_count(uint64_t n, char buffer[static FORMAT_MAX]);

/* Prints the current local time as "12:34:56"; "" if it is not known. */
const char *format_clock(char buffer[static FORMAT_MAX]);

/* Prints a span of microseconds with its two largest units, as "3h 12min" or "4s". */
const char *format_span(uint64_t usec, char buffer[static FORMAT_MAX]);
