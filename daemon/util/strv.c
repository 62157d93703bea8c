/* SPDX-License-Identifier: GPL-2.0-only */

/* Handles arrays of strings. The invariant: an array and each of its strings were allocated on their own, so
 * strv_free() frees them all. */

#include "util/strv.h"

char **strv_free(char **strings) {
        if (strings)
                for (char **s = strings; *s; s++)
                        free(*s);
        free(strings);
        return NULL;
}

char **strv_copy(char *const *strings) {
        size_t n = 0;

        while (strings[n])
                n++;

        _cleanup_(strv_freep) char **copy = calloc(n + 1, sizeof(char *));
        if (!copy)
                return NULL;

        for (size_t i = 0; i < n; i++) {
                copy[i] = strdup(strings[i]);
                if (!copy[i])
                        return NULL;
        }

        return TAKE_PTR(copy);
}

bool strv_contains(char *const *strings, const char *s) {
        for (; *strings; strings++)
                if (streq(*strings, s))
                        return true;
        return false;
}
