/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <stdint.h>

/* Checks that fd is a dma-buf of exactly that size (statfs(2): DMA_BUF_MAGIC; lseek(2) to the end is its size).
 *
 * Returns 0 and its inode number, which is its identity until reboot; -EBADMSG if it is anything else; -errno. */
int buffer_check(int fd, uint64_t size, uint64_t *ret_inode);
