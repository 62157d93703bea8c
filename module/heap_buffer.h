/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _HEAP_BUFFER_H
#define _HEAP_BUFFER_H

#include <linux/list.h>
#include <linux/module.h>
#include <linux/scatterlist.h>
#include <linux/types.h>

struct dma_buf;
struct dma_heap;
struct dma_heap_export_info;
struct heap_buffer;

/**
 * struct heap_buffer_ops - what a heap provides for its buffers
 * @owner:	the heap's module; each of its buffers holds a reference to it
 * @release:	frees the memory, then the buffer; called once, when the last
 *		reference to the dma-buf is gone
 */
struct heap_buffer_ops {
	struct module *owner;
	void (*release)(struct heap_buffer *buffer);
};

/**
 * struct heap_buffer - memory that can be exported as a dma-buf
 * @ops:	of the heap that allocated it
 * @size:	in bytes, a multiple of the page size
 * @memory:	all of the buffer in order, an entry for each contiguous run of
 *		pages; the entries have no DMA addresses
 * @mappings:	the devices it is mapped for; protected by the dma-buf's
 *		reservation lock
 * @vaddr:	the kernel's mapping, or NULL; protected by the same lock
 *
 * A heap embeds this in a buffer structure of its own, fills in @ops, @size and
 * @memory, and calls heap_buffer_export(). The rest is private.
 */
struct heap_buffer {
	const struct heap_buffer_ops *ops;
	size_t size;
	struct sg_table memory;
	struct list_head mappings;
	void *vaddr;
};

bool heap_buffer_heap_exists(const char *name);
int heap_buffer_add_heap(const struct dma_heap_export_info *exp_info);
int heap_buffer_set_contiguous(struct heap_buffer *buffer, struct page *page);
struct dma_buf *heap_buffer_export(struct heap_buffer *buffer,
				   struct dma_heap *heap, u32 fd_flags);

#endif /* _HEAP_BUFFER_H */
