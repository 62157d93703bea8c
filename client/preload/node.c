/* SPDX-License-Identifier: MIT */
/* The memfds that stand for opened heaps. All of their seals are set, so that nobody makes one into another. */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "preload.h"

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

        /* Anything but a memfd ends here. */
        is = seals >= 0 && (seals & SEALS) == SEALS && pread(fd, &content, sizeof(content), 0) == sizeof(content) &&
             memcmp(content.magic, magic, sizeof(magic)) == 0 && content.name[HEAP_NAME_MAX] == '\0';
        if (is)
                memcpy(name, content.name, sizeof(content.name));
        errno = saved_errno;
        return is;
}
