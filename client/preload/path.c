/* SPDX-License-Identifier: MIT */
/*
 * Which paths this library serves: absolute ones below /dev/dma_heap, and those relative to an fd of that directory.
 *
 * Invariant: looks at the text of the path and at dir_fd only. The path itself is never followed, so that it is cheap
 * enough to run before every open and stat, and cannot block.
 */

#include <fcntl.h>

#include <string.h>

#include "path.h"

/* Moves *p to the next component of a path that is not ".". Returns its length, or 0 at the end. */
static size_t next_component(const char **p) {
        size_t n;

        for (;;) {
                *p += strspn(*p, "/");
                n = strcspn(*p, "/");
                if (n != 1 || **p != '.')
                        return n;
                (*p)++;
        }
}

static bool skip_component(const char **p, const char *expected) {
        size_t n = next_component(p);

        if (n != strlen(expected) || memcmp(*p, expected, n) != 0)
                return false;
        *p += n;
        return true;
}

/* Classifies the rest of a path that leads to the directory of heaps. */
static PathKind classify_rest(const char *p, char name[static HEAP_NAME_MAX + 1]) {
        size_t n = next_component(&p);

        if (n == 0)
                return PATH_DIRECTORY;
        if (n > HEAP_NAME_MAX || p[0] == '.' || p[n] != '\0')
                return PATH_OTHER;

        memcpy(name, p, n);
        name[n] = '\0';
        return PATH_HEAP;
}

PathKind path_classify(int dir_fd, const char *path, char name[static HEAP_NAME_MAX + 1]) {
        if (!path)
                return PATH_OTHER;

        if (*path != '/') {
                if (!*path || dir_fd == AT_FDCWD || !node_is_directory(dir_fd))
                        return PATH_OTHER;
                return classify_rest(path, name);
        }

        if (!skip_component(&path, "dev") || !skip_component(&path, "dma_heap"))
                return PATH_OTHER;
        return classify_rest(path, name);
}
