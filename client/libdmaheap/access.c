/* SPDX-License-Identifier: MIT */
/*
 * Access by the CPU to a mapped dma-buf. dmaheap.h is the contract of this file.
 *
 * Invariant: needs no connection and keeps no state; it is the ioctl DMA_BUF_IOCTL_SYNC alone.
 */

#include <linux/dma-buf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "dmaheap.h"
#include "shared/cleanup.h"

static int sync_access(int fd, int access, uint64_t flags) {
        struct dma_buf_sync sync = { .flags = flags };

        if (access == 0 || (access & ~(PROT_READ | PROT_WRITE)) != 0)
                return -EINVAL;
        if (access & PROT_READ)
                sync.flags |= DMA_BUF_SYNC_READ;
        if (access & PROT_WRITE)
                sync.flags |= DMA_BUF_SYNC_WRITE;

        /* The kernel's documentation (linux/dma-buf.h) tells callers to try again after both errors. */
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
