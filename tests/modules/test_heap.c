// SPDX-License-Identifier: GPL-2.0-only
/* What the heaps that exist for tests only allocate: a run of plain pages. */

#include <linux/dma-buf.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "heap_buffer.h"
#include "test_heap.h"

struct test_heap_buffer {
	struct heap_buffer base;
	void *pages;
};

static void test_heap_buffer_release(struct heap_buffer *base)
{
	struct test_heap_buffer *buffer =
		container_of(base, struct test_heap_buffer, base);

	sg_free_table(&base->memory);
	free_pages_exact(buffer->pages, base->size);
	kfree(buffer);
}

static const struct heap_buffer_ops test_heap_buffer_ops = {
	.owner = THIS_MODULE,
	.release = test_heap_buffer_release,
};

struct dma_buf *test_heap_allocate(struct dma_heap *heap, unsigned long len,
				   u32 fd_flags, u64 heap_flags)
{
	struct test_heap_buffer *buffer;
	struct dma_buf *dmabuf;
	int err;

	buffer = kzalloc_obj(*buffer);
	if (!buffer)
		return ERR_PTR(-ENOMEM);

	buffer->base.ops = &test_heap_buffer_ops;
	buffer->base.size = PAGE_ALIGN(len);

	err = -ENOMEM;
	buffer->pages = alloc_pages_exact(buffer->base.size,
					  GFP_USER | __GFP_ZERO | __GFP_NOWARN);
	if (!buffer->pages)
		goto err_free;

	err = heap_buffer_set_contiguous(&buffer->base,
					 virt_to_page(buffer->pages));
	if (err)
		goto err_free_pages;

	dmabuf = heap_buffer_export(&buffer->base, heap, fd_flags);
	if (IS_ERR(dmabuf)) {
		err = PTR_ERR(dmabuf);
		goto err_free_table;
	}

	return dmabuf;

err_free_table:
	sg_free_table(&buffer->base.memory);
err_free_pages:
	free_pages_exact(buffer->pages, buffer->base.size);
err_free:
	kfree(buffer);
	return ERR_PTR(err);
}
EXPORT_SYMBOL_NS_GPL(test_heap_allocate, "DMAHEAPD_TEST");

MODULE_DESCRIPTION("Memory for the dma-buf heaps of dmaheapd's tests");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("HEAP_BUFFER");
