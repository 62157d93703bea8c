/* SPDX-License-Identifier: MIT */

#include <fcntl.h>

#include "preload.h"

/* The next component of a path, skipping "/" and "."; its length, or 0 at the end. */
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

/* The rest of a path below the directory of heaps. */
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
                if (!*path || dir_fd == AT_FDCWD || !directory_is(dir_fd))
                        return PATH_OTHER;
                return classify_rest(path, name);
        }

        if (!skip_component(&path, "dev") || !skip_component(&path, "dma_heap"))
                return PATH_OTHER;
        return classify_rest(path, name);
}
