/* SPDX-License-Identifier: MIT */
/* Which paths this library serves. */
#pragma once

#include "node.h"

typedef enum PathKind {
        PATH_OTHER,     /* for the C library's own function */
        PATH_DIRECTORY, /* /dev/dma_heap itself */
        PATH_HEAP,      /* /dev/dma_heap/NAME, whether there is such a heap or not */
} PathKind;

/* Classifies a path, relative to dir_fd as in openat(2); NULL is PATH_OTHER. For PATH_HEAP, name gets the heap's name;
 * else it is untouched. Symbolic links and ".." are not followed. Leaves errno alone. */
PathKind path_classify(int dir_fd, const char *path, char name[static HEAP_NAME_MAX + 1]);
