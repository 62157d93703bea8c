/* SPDX-License-Identifier: GPL-2.0-only */

/* Decides which names a heap or a role can have. The invariant: a valid name is one component of a path without a
 * meaning of its own there, so /dev/dma_heap/NAME never leads elsewhere. */

#include <string.h>

#include "util/heap-name.h"

bool heap_name_is_valid(const char *name) {
        static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._,@+-";
        size_t n = strlen(name);

        return n >= 1 && n <= HEAP_NAME_MAX && name[0] != '.' && strspn(name, allowed) == n;
}
