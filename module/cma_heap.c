// SPDX-License-Identifier: GPL-2.0-only
/*
 * dma-buf heaps of physically contiguous memory, one for each CMA area that
 * devices can be given.
 *
 * The default area is the heap "default_cma_region" wherever the kernel runs,
 * and a heap under the area's own name besides ("reserved", "linux,cma",
 * whatever the device tree said); the other areas go by their names.
 *
 * There is no module_exit(): a heap cannot be taken away from those who have
 * its device open, so the module stays.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cma.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/dma-map-ops.h>
#include <linux/err.h>
#include <linux/highmem.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "heap_buffer.h"

#define DEFAULT_CMA_NAME	"default_cma_region"

/**
 * struct cma_heap - a heap
 * @cma:	the area it allocates from
 */
struct cma_heap {
	struct cma *cma;
};

/**
 * struct cma_heap_buffer - a buffer from a CMA area
 * @base:	the part that every heap's buffers have
 * @cma:	the area
 * @pages:	the first of its pages
 */
struct cma_heap_buffer {
	struct heap_buffer base;
	struct cma *cma;
	struct page *pages;
};

static void cma_heap_buffer_release(struct heap_buffer *base)
{
	struct cma_heap_buffer *buffer =
		container_of(base, struct cma_heap_buffer, base);

	sg_free_table(&base->memory);
	cma_release(buffer->cma, buffer->pages, base->size >> PAGE_SHIFT);
	kfree(buffer);
}

static const struct heap_buffer_ops cma_heap_buffer_ops = {
	.owner = THIS_MODULE,
	.release = cma_heap_buffer_release,
};

/*
 * In steps, as an area may be gigabytes: whoever is killed meanwhile need not
 * wait for the end of it, nor does anybody else wait for the CPU.
 */
static int cma_heap_zero(struct page *page, unsigned long n_pages)
{
	while (n_pages > 0) {
		unsigned long n = min_t(unsigned long, n_pages,
					SZ_1M >> PAGE_SHIFT);

		if (fatal_signal_pending(current))
			return -EINTR;

		n_pages -= n;
		if (PageHighMem(page)) {
			while (n-- > 0)
				clear_highpage(page++);
		} else {
			memset(page_address(page), 0, n << PAGE_SHIFT);
			page += n;
		}
		cond_resched();
	}

	return 0;
}

static struct dma_buf *cma_heap_allocate(struct dma_heap *heap,
					 unsigned long len, u32 fd_flags,
					 u64 heap_flags)
{
	struct cma_heap *cma_heap = dma_heap_get_drvdata(heap);
	size_t size = PAGE_ALIGN(len);
	unsigned long n_pages = size >> PAGE_SHIFT;
	unsigned int align = min_t(unsigned int, get_order(size),
				   CONFIG_CMA_ALIGNMENT);
	struct cma_heap_buffer *buffer;
	struct dma_buf *dmabuf;
	int err;

	buffer = kzalloc_obj(*buffer);
	if (!buffer)
		return ERR_PTR(-ENOMEM);

	buffer->base.ops = &cma_heap_buffer_ops;
	buffer->base.size = size;
	buffer->cma = cma_heap->cma;

	/* A full area is an everyday error, not one for the log. */
	buffer->pages = cma_alloc(buffer->cma, n_pages, align, true);
	if (!buffer->pages) {
		err = fatal_signal_pending(current) ? -EINTR : -ENOMEM;
		goto err_free;
	}

	err = cma_heap_zero(buffer->pages, n_pages);
	if (err)
		goto err_release;

	err = heap_buffer_set_contiguous(&buffer->base, buffer->pages);
	if (err)
		goto err_release;

	dmabuf = heap_buffer_export(&buffer->base, heap, fd_flags);
	if (IS_ERR(dmabuf)) {
		err = PTR_ERR(dmabuf);
		goto err_free_table;
	}

	return dmabuf;

err_free_table:
	sg_free_table(&buffer->base.memory);
err_release:
	cma_release(buffer->cma, buffer->pages, n_pages);
err_free:
	kfree(buffer);
	return ERR_PTR(err);
}

static const struct dma_heap_ops cma_heap_ops = {
	.allocate = cma_heap_allocate,
};

static int __init cma_heap_add(struct cma *cma, const char *name)
{
	struct dma_heap_export_info exp_info = {
		.name = name,
		.ops = &cma_heap_ops,
	};
	struct cma_heap *cma_heap;
	struct dma_heap *heap;

	cma_heap = kzalloc_obj(*cma_heap);
	if (!cma_heap)
		return -ENOMEM;

	cma_heap->cma = cma;
	exp_info.priv = cma_heap;

	heap = dma_heap_add(&exp_info);
	if (IS_ERR(heap)) {
		pr_err("cannot add the heap %s: %pe\n", name, heap);
		kfree(cma_heap);
		return PTR_ERR(heap);
	}

	return 0;
}

static int __init cma_heap_init(void)
{
	struct cma *default_cma = dev_get_cma_area(NULL);
	struct cma *cma;
	unsigned int i, n_heaps = 0;
	int err, ret = -ENODEV;

	if (default_cma) {
		err = cma_heap_add(default_cma, DEFAULT_CMA_NAME);
		if (err)
			ret = err;
		else
			n_heaps++;

		if (strcmp(cma_get_name(default_cma), DEFAULT_CMA_NAME) &&
		    !cma_heap_add(default_cma, cma_get_name(default_cma)))
			n_heaps++;
	}

	for (i = 0; (cma = dma_contiguous_get_area_by_idx(i)); i++) {
		if (cma == default_cma)
			continue;
		err = cma_heap_add(cma, cma_get_name(cma));
		if (err)
			ret = err;
		else
			n_heaps++;
	}

	/* Heaps cannot be removed: with one of them there, the module stays. */
	return n_heaps > 0 ? 0 : ret;
}
module_init(cma_heap_init);

MODULE_DESCRIPTION("dma-buf heaps of contiguous memory");
MODULE_LICENSE("GPL");
/* The names areas have: the default one's, those of device trees, the kernel's. */
MODULE_ALIAS("dma-heap:default_cma_region");
MODULE_ALIAS("dma-heap:reserved");
MODULE_ALIAS("dma-heap:linux,cma");
MODULE_ALIAS("dma-heap:default-pool");
MODULE_IMPORT_NS("DMA_BUF");
MODULE_IMPORT_NS("DMA_BUF_HEAP");
MODULE_IMPORT_NS("HEAP_BUFFER");
