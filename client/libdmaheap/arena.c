/* SPDX-License-Identifier: MIT */
/*
 * An arena is a list of chunks, one for each allocation.
 *
 * Invariant: a chunk is in the list of exactly one arena until arena_done() frees it.
 */

#include <stdint.h>

#include "arena.h"

struct Chunk {
        Chunk *next;
        _Alignas(max_align_t) unsigned char data[];
};

void *arena_alloc(Arena *a, size_t n, size_t size) {
        size_t bytes;
        Chunk *chunk;

        if (__builtin_mul_overflow(n, size, &bytes) || __builtin_add_overflow(bytes, sizeof(Chunk), &bytes))
                return NULL;

        chunk = calloc(1, bytes);
        if (!chunk)
                return NULL;

        chunk->next = a->chunks;
        a->chunks = chunk;
        return chunk->data;
}

char *arena_strdup(Arena *a, const char *s) {
        size_t n = strlen(s) + 1;
        char *copy;

        copy = arena_alloc(a, n, 1);
        return copy ? memcpy(copy, s, n) : NULL;
}

char *arena_vprintf(Arena *a, const char *format, va_list ap) {
        CLEANUP_FREE char *s = NULL;

        if (vasprintf(&s, format, ap) < 0) {
                s = NULL; /* undefined after a failure */
                return NULL;
        }
        return arena_strdup(a, s);
}

char *arena_printf(Arena *a, const char *format, ...) {
        va_list ap;
        char *s;

        va_start(ap, format);
        s = arena_vprintf(a, format, ap);
        va_end(ap);
        return s;
}

void arena_done(Arena *a) {
        while (a->chunks) {
                Chunk *next = a->chunks->next;

                free(a->chunks);
                a->chunks = next;
        }
}
