/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _TEST_HEAP_H
#define _TEST_HEAP_H

#include <linux/dma-heap.h>

/**
 * test_heap_allocate() - allocate a buffer of plain pages, of 4 MiB at most
 *
 * For the &dma_heap_ops of heaps whose memory is beside the point.
 */
struct dma_buf *test_heap_allocate(struct dma_heap *heap, unsigned long len,
				   u32 fd_flags, u64 heap_flags);

#endif /* _TEST_HEAP_H */
