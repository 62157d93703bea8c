/* SPDX-License-Identifier: MIT */

#include <stdarg.h>
#include <stddef.h>

#include "internal.h"

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

char *arena_printf(Arena *a, const char *format, ...) {
        CLEANUP_FREE char *s = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&s, format, ap);
        va_end(ap);
        if (n < 0) {
                s = NULL;
                return NULL;
        }
        return arena_strdup(a, s);
}

void arena_done(Arena *a) {
        while (a->chunks) {
                Chunk *next = a->chunks->next;

                free(a->chunks);
                a->chunks = next;
        }
}
