/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <stdint.h>

/* Checks that fd is a dma-buf of exactly `size` bytes. statfs(2) gives DMA_BUF_MAGIC for a dma-buf, and lseek(2) to the
 * end its size. Returns 0 and its inode number, which identifies it until reboot; -EBADMSG if it is anything else; or
 * -errno. */
int buffer_check(int fd, uint64_t size, uint64_t *ret_inode);
