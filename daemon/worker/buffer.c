/* SPDX-License-Identifier: GPL-2.0-only */

/* Identifies a dma-buf. The invariant: nothing that a worker could make without a heap's device passes for one. */

#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "util/macro.h"
#include "worker/buffer.h"

int buffer_check(int fd, uint64_t size, uint64_t *ret_inode) {
        struct statfs fs;
        struct stat st;

        if (fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (fs.f_type != DMA_BUF_MAGIC)
                return -EBADMSG;

        off_t end = lseek(fd, 0, SEEK_END);
        if (end < 0)
                return -errno;
        if ((uint64_t) end != size || lseek(fd, 0, SEEK_SET) < 0)
                return -EBADMSG;

        *ret_inode = st.st_ino;
        return 0;
}
