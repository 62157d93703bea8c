// SPDX-License-Identifier: GPL-2.0-only
/*
 * dma-buf heaps of physically contiguous memory, for each CMA area that devices
 * can be given.
 *
 * The default area has two heaps: "default_cma_region" on every machine, and one
 * with the area's own name, such as "reserved" or "linux,cma". Any other area
 * has one heap, with the area's name.
 *
 * With dma_heap.mem_accounting, buffers are charged to the dmem controller: to
 * the cgroup of the task that allocates, in a region with the heap's name. An
 * area with two heaps has two regions, and a buffer is charged in both. So a
 * limit on either holds, whichever name the buffer was allocated by.
 *
 * There is no module_exit(): the kernel cannot remove a heap while its device
 * may be open, so the module stays.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cgroup_dmem.h>
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
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/string.h>

#include "heap_buffer.h"

#define DEFAULT_CMA_NAME	"default_cma_region"

/* An area has at most two names: default_cma_region and its own. */
#define CMA_HEAP_MAX_NAMES	2

/**
 * struct cma_heap - the heaps of a CMA area, one or two
 * @cma:	the area
 * @names:	the names of the heaps
 * @regions:	a region of the dmem controller for each name; NULL if the kernel
 *		was built without that controller
 * @n_names:	the number of names
 */
struct cma_heap {
	struct cma *cma;
	const char *names[CMA_HEAP_MAX_NAMES];
	struct dmem_cgroup_region *regions[CMA_HEAP_MAX_NAMES];
	unsigned int n_names;
};

/**
 * struct cma_heap_buffer - a buffer from a CMA area
 * @base:	the part that buffers of all heaps have
 * @cma:	the area
 * @pages:	the first of its pages
 * @pools:	the dmem pools it is charged to, one for each of the area's
 *		regions; NULL if it is not charged
 */
struct cma_heap_buffer {
	struct heap_buffer base;
	struct cma *cma;
	struct page *pages;
	struct dmem_cgroup_pool_state *pools[CMA_HEAP_MAX_NAMES];
};

static void cma_heap_uncharge(struct cma_heap_buffer *buffer)
{
	unsigned int i;

	for (i = 0; i < CMA_HEAP_MAX_NAMES; i++)
		dmem_cgroup_uncharge(buffer->pools[i], buffer->base.size);
}

static int cma_heap_charge(struct cma_heap *heap, struct cma_heap_buffer *buffer)
{
	unsigned int i;
	int err;

	if (!mem_accounting)
		return 0;

	for (i = 0; i < heap->n_names; i++) {
		err = dmem_cgroup_try_charge(heap->regions[i], buffer->base.size,
					     &buffer->pools[i], NULL);
		if (err) {
			cma_heap_uncharge(buffer);
			/* EAGAIN means a limit: trying again is no use. */
			return err == -EAGAIN ? -ENOMEM : err;
		}
	}

	return 0;
}

static void cma_heap_buffer_release(struct heap_buffer *base)
{
	struct cma_heap_buffer *buffer =
		container_of(base, struct cma_heap_buffer, base);

	sg_free_table(&base->memory);
	cma_release(buffer->cma, buffer->pages, base->size >> PAGE_SHIFT);
	cma_heap_uncharge(buffer);
	kfree(buffer);
}

static const struct heap_buffer_ops cma_heap_buffer_ops = {
	.owner = THIS_MODULE,
	.release = cma_heap_buffer_release,
};

/*
 * Zeroes in steps, as a buffer may have gigabytes: a killed task ends after the
 * step, and other tasks get the CPU in between.
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
			clear_pages(page_address(page), n);
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

	/* Refused before it is charged: sums of such sizes could overflow. */
	if (n_pages > totalram_pages())
		return ERR_PTR(-ENOMEM);

	buffer = kzalloc_obj(*buffer);
	if (!buffer)
		return ERR_PTR(-ENOMEM);

	buffer->base.ops = &cma_heap_buffer_ops;
	buffer->base.size = size;
	buffer->cma = cma_heap->cma;

	err = cma_heap_charge(cma_heap, buffer);
	if (err)
		goto err_free;

	/* Without a message in the log: a full area is an ordinary error. */
	buffer->pages = cma_alloc(buffer->cma, n_pages, align, true);
	if (!buffer->pages) {
		err = fatal_signal_pending(current) ? -EINTR : -ENOMEM;
		goto err_uncharge;
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
err_uncharge:
	cma_heap_uncharge(buffer);
err_free:
	kfree(buffer);
	return ERR_PTR(err);
}

static const struct dma_heap_ops cma_heap_ops = {
	.allocate = cma_heap_allocate,
};

/*
 * The dmem controller shows the size of a region to administrators; limits do
 * not depend on it. cma_get_size() is not exported to modules, and the controller
 * refuses a size of 0: a module says the size of the whole memory.
 */
static u64 __init cma_heap_region_size(struct cma *cma)
{
#ifdef MODULE
	return (u64)totalram_pages() << PAGE_SHIFT;
#else
	return cma_get_size(cma);
#endif
}

static int __init cma_heap_register_region(struct cma_heap *heap, unsigned int i)
{
	struct dmem_cgroup_region *region;
	u64 size = cma_heap_region_size(heap->cma);

#ifdef DMEM_CGROUP_INIT
	region = dmem_cgroup_register_region(&(struct dmem_cgroup_init){
						     .size = size,
					     }, "%s", heap->names[i]);
#else
	region = dmem_cgroup_register_region(size, "%s", heap->names[i]);
#endif
	if (IS_ERR(region))
		return PTR_ERR(region);

	heap->regions[i] = region;
	return 0;
}

static void __init cma_heap_free(struct cma_heap *heap)
{
	unsigned int i;

	for (i = 0; i < heap->n_names; i++)
		dmem_cgroup_unregister_region(heap->regions[i]);
	kfree(heap);
}

static struct cma_heap *__init cma_heap_new(struct cma *cma, bool is_default)
{
	struct cma_heap *heap;
	unsigned int i;
	int err;

	heap = kzalloc_obj(*heap);
	if (!heap)
		return ERR_PTR(-ENOMEM);

	heap->cma = cma;
	if (is_default)
		heap->names[heap->n_names++] = DEFAULT_CMA_NAME;
	if (!is_default || strcmp(cma_get_name(cma), DEFAULT_CMA_NAME))
		heap->names[heap->n_names++] = cma_get_name(cma);

	for (i = 0; i < heap->n_names; i++) {
		err = cma_heap_register_region(heap, i);
		if (err) {
			cma_heap_free(heap);
			return ERR_PTR(err);
		}
	}

	return heap;
}

/*
 * An area with a heap by another module, under any of its names, is left to that
 * module: neither module would know of the charges of the other.
 */
static bool __init cma_heap_is_taken(const struct cma_heap *heap)
{
	unsigned int i;

	for (i = 0; i < heap->n_names; i++) {
		if (heap_buffer_heap_exists(heap->names[i])) {
			pr_err("there is a heap %s already\n", heap->names[i]);
			return true;
		}
	}

	return false;
}

/* Adds the heaps of one area. Returns 0 if at least one was added. */
static int __init cma_heap_add(struct cma *cma, bool is_default)
{
	struct cma_heap *cma_heap;
	unsigned int i, n_added = 0;
	int err = 0;

	cma_heap = cma_heap_new(cma, is_default);
	if (IS_ERR(cma_heap))
		return PTR_ERR(cma_heap);

	if (cma_heap_is_taken(cma_heap)) {
		cma_heap_free(cma_heap);
		return -EBUSY;
	}

	for (i = 0; i < cma_heap->n_names; i++) {
		struct dma_heap_export_info exp_info = {
			.name = cma_heap->names[i],
			.ops = &cma_heap_ops,
			.priv = cma_heap,
		};
		int add_err = heap_buffer_add_heap(&exp_info);

		if (add_err)
			err = add_err;
		else
			n_added++;
	}

	if (n_added > 0)
		return 0;

	cma_heap_free(cma_heap);
	return err;
}

static int __init cma_heap_init(void)
{
	struct cma *cma, *default_cma = dev_get_cma_area(NULL);
	unsigned int i, n_areas = 0;
	int err, ret = -ENODEV;

	if (default_cma) {
		err = cma_heap_add(default_cma, true);
		if (err)
			ret = err;
		else
			n_areas++;
	}

	for (i = 0; (cma = dma_contiguous_get_area_by_idx(i)); i++) {
		if (cma == default_cma)
			continue;

		err = cma_heap_add(cma, false);
		if (err)
			ret = err;
		else
			n_areas++;
	}

	/* With one heap added the module must stay, as heaps cannot be removed. */
	return n_areas > 0 ? 0 : ret;
}
module_init(cma_heap_init);

MODULE_DESCRIPTION("dma-buf heaps of contiguous memory");
MODULE_LICENSE("GPL");
/* The default area's usual names, from the kernel and from device trees. */
MODULE_ALIAS("dma-heap:default_cma_region");
MODULE_ALIAS("dma-heap:reserved");
MODULE_ALIAS("dma-heap:linux,cma");
MODULE_ALIAS("dma-heap:default-pool");
MODULE_IMPORT_NS("DMA_BUF");
MODULE_IMPORT_NS("DMA_BUF_HEAP");
MODULE_IMPORT_NS("HEAP_BUFFER");
