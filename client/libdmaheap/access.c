/* SPDX-License-Identifier: MIT */

#include <linux/dma-buf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "internal.h"

static int sync_access(int fd, int access, uint64_t flags) {
        struct dma_buf_sync sync = { .flags = flags };

        if (access == 0 || (access & ~(PROT_READ | PROT_WRITE)) != 0)
                return -EINVAL;
        if (access & PROT_READ)
                sync.flags |= DMA_BUF_SYNC_READ;
        if (access & PROT_WRITE)
                sync.flags |= DMA_BUF_SYNC_WRITE;

        /* The kernel's documentation asks for both errors to be tried again. */
        while (ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync) < 0)
                if (errno != EINTR && errno != EAGAIN)
                        return -errno;
        return 0;
}

int dmaheap_begin_cpu_access(int fd, int access) {
        return sync_access(fd, access, DMA_BUF_SYNC_START);
}

int dmaheap_end_cpu_access(int fd, int access) {
        return sync_access(fd, access, DMA_BUF_SYNC_END);
}
