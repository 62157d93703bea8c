/* SPDX-License-Identifier: MIT */
/*
 * ioctl(2): DMA_HEAP_IOCTL_ALLOC on a node allocates from the daemon.
 *
 * Invariant: the caller's structure changes only if the allocation succeeded, as with the kernel.
 */

#include <fcntl.h>
#include <linux/dma-heap.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "daemon.h"
#include "node.h"
#include "real.h"
#include "shared/cleanup.h"

/* Checks the arguments as dma_heap_ioctl_allocate() of the kernel does, in its order. Returns 0 or a negative errno. */
static int allocate(const char *heap, struct dma_heap_allocation_data *data) {
        int fd;

        if (!data)
                return -EFAULT;
        if (data->fd != 0 || (data->fd_flags & ~(uint32_t) DMA_HEAP_VALID_FD_FLAGS) != 0 ||
                        data->heap_flags != DMA_HEAP_VALID_HEAP_FLAGS || data->len == 0)
                return -EINVAL;

        fd = daemon_allocate(heap, data->len, (data->fd_flags & O_ACCMODE) == O_RDONLY);
        if (fd < 0)
                return fd;
        if (!(data->fd_flags & O_CLOEXEC) && fcntl(fd, F_SETFD, 0) < 0) {
                int r = -errno;

                (void) fd_close(fd);
                return r;
        }

        data->fd = (uint32_t) fd;
        return 0;
}

int ioctl(int fd, unsigned long request, ...) {
        char name[HEAP_NAME_MAX + 1];
        void *argument;
        va_list ap;
        int r;

        va_start(ap, request);
        argument = va_arg(ap, void *);
        va_end(ap);

        /* A program that passes the number as an int has it sign-extended: compare the lower 32 bits. */
        if ((uint32_t) request != (uint32_t) DMA_HEAP_IOCTL_ALLOC || !node_is(fd, name) || !*name)
                return REAL(ioctl)(fd, request, argument);

        r = allocate(name, argument);
        if (r < 0) {
                errno = -r;
                return -1;
        }
        return 0;
}
