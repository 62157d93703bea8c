/* SPDX-License-Identifier: MIT */
/*
 * Nodes: the memfds that stand for opened heaps.
 *
 * Invariant: a node never changes. All its seals are set, so that no process that it was passed to can make it stand
 * for another heap.
 */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "node.h"
#include "real.h"
#include "shared/cleanup.h"

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

typedef struct Content {
        char magic[24];
        char name[HEAP_NAME_MAX + 1];
} Content;

static const char magic[24] = "libdmaheap-preload 1";

int node_new(const char *name, bool cloexec) {
        CLEANUP_FD int fd = -EBADF;
        Content content = {};
        size_t n = strlen(name);

        if (n > HEAP_NAME_MAX)
                return -ENAMETOOLONG;
        memcpy(content.magic, magic, sizeof(magic));
        memcpy(content.name, name, n);

        fd = memfd_create("dma_heap", MFD_ALLOW_SEALING | (cloexec ? MFD_CLOEXEC : 0));
        if (fd < 0)
                return -errno;
        if (pwrite(fd, &content, sizeof(content), 0) != sizeof(content))
                return -ENOMEM;
        if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return -errno;
        return TAKE_FD(fd);
}

bool node_is(int fd, char name[static HEAP_NAME_MAX + 1]) {
        int saved_errno = errno, seals = fcntl(fd, F_GET_SEALS);
        Content content;
        bool is;

        /* F_GET_SEALS fails for anything but memfds and files of tmpfs or hugetlbfs. */
        is = seals >= 0 && (seals & SEALS) == SEALS && pread(fd, &content, sizeof(content), 0) == sizeof(content) &&
                        memcmp(content.magic, magic, sizeof(magic)) == 0 && content.name[HEAP_NAME_MAX] == '\0';
        if (is)
                memcpy(name, content.name, sizeof(content.name));
        errno = saved_errno;
        return is;
}

bool node_is_directory(int fd) {
        struct stat st, real;
        char name[HEAP_NAME_MAX + 1];
        int saved_errno = errno;
        bool is;

        if (fd < 0)
                return false;
        if (node_is(fd, name))
                return !*name;

        is = REAL(fstat)(fd, &st) >= 0 && S_ISDIR(st.st_mode) && REAL(stat)(HEAP_DIRECTORY, &real) >= 0 &&
                        st.st_dev == real.st_dev && st.st_ino == real.st_ino;
        errno = saved_errno;
        return is;
}
