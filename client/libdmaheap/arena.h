/* SPDX-License-Identifier: MIT */
/*
 * Memory of a reply or an error. Its pieces are not freed one by one, but all at once when the reply or error is freed.
 *
 * An arena holds no pointer into libsystemd. Reference counts there are not atomic, and a JSON value of a reply shares
 * its parent with the link, which another thread may be using; so strings are copied into the arena.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "shared/cleanup.h"

typedef struct Chunk Chunk;

/* Zero-initialise it. One thread at a time. */
typedef struct Arena {
        Chunk *chunks;
} Arena;

/* Returns zeroed memory for n objects of size bytes, aligned for any type; NULL if memory is short or the product
 * overflows. The arena owns it. */
void *arena_alloc(Arena *a, size_t n, size_t size);

/* Returns a copy of s, or NULL if memory is short. The arena owns it. */
char *arena_strdup(Arena *a, const char *s);

/* Returns the formatted string, or NULL if memory is short. The arena owns it. */
char *arena_printf(Arena *a, const char *format, ...) PRINTF_LIKE(2, 3);
char *arena_vprintf(Arena *a, const char *format, va_list ap) PRINTF_LIKE(2, 0);

/* Frees all memory of the arena, which may be used again afterwards. */
void arena_done(Arena *a);
