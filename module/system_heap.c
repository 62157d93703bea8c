// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dma-buf heap of ordinary memory, for kernels that were built without one.
 *
 * Large pages are taken first: they need fewer entries in an IOMMU and fewer
 * descriptors without one. Nothing is moved or reclaimed for them. Only for
 * single pages does the page allocator reclaim.
 *
 * An allocation that fails returns an error and never wakes the OOM killer:
 * neither that of the system nor, with dma_heap.mem_accounting, that of the
 * caller's memory cgroup.
 *
 * There is no module_exit(): the kernel cannot remove a heap while its device
 * may be open, so the module stays.
 */

#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/err.h>
#include <linux/gfp.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/scatterlist.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "heap_buffer.h"

/* A PMD maps 2 MiB if pages have 4 KiB; devices gain nothing from more. */
#define SYSTEM_HEAP_MAX_ORDER	min(get_order(SZ_2M), MAX_PAGE_ORDER)

static gfp_t system_heap_gfp(unsigned int order)
{
	gfp_t gfp = GFP_HIGHUSER | __GFP_ZERO | __GFP_COMP | __GFP_NOWARN;

	if (order > 0)
		gfp &= ~__GFP_RECLAIM;
	else
		gfp |= __GFP_RETRY_MAYFAIL;	/* without the OOM killer */

	if (mem_accounting)
		gfp |= __GFP_ACCOUNT;

	return gfp;
}

/*
 * Fills @pages, linked by their lru, with @n_pages pages. On an error the
 * caller frees the pages that are there by then.
 *
 * An order that has failed once is not tried again: the search for another page
 * of it would take as long.
 */
static int system_heap_alloc_pages(struct list_head *pages,
				   unsigned long n_pages,
				   unsigned int *ret_n_runs)
{
	unsigned int order = SYSTEM_HEAP_MAX_ORDER;
	unsigned int n_runs = 0;

	while (n_pages > 0) {
		struct page *page;

		/* Large buffers take a while: a killed task must not wait. */
		if (fatal_signal_pending(current))
			return -EINTR;

		order = min_t(unsigned int, order, ilog2(n_pages));
		page = alloc_pages(system_heap_gfp(order), order);
		if (page) {
			list_add_tail(&page->lru, pages);
			n_pages -= 1UL << order;
			n_runs++;
		} else if (order > 0) {
			order--;
		} else {
			return -ENOMEM;
		}

		cond_resched();
	}

	*ret_n_runs = n_runs;
	return 0;
}

static void system_heap_free_pages(struct list_head *pages)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		__free_pages(page, compound_order(page));
		cond_resched();
	}
}

/* Moves the pages from the list into a table. */
static int system_heap_set_memory(struct heap_buffer *buffer,
				  struct list_head *pages, unsigned int n_runs)
{
	struct page *page, *next;
	struct scatterlist *sg;
	int err;

	/* Less than 1 % of the buffer, and again without the OOM killer. */
	err = sg_alloc_table(&buffer->memory, n_runs,
			     GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
	if (err)
		return err;

	sg = buffer->memory.sgl;
	list_for_each_entry_safe(page, next, pages, lru) {
		list_del(&page->lru);
		sg_set_page(sg, page, page_size(page), 0);
		sg = sg_next(sg);
	}

	return 0;
}

static void system_heap_free_memory(struct heap_buffer *buffer)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_sg(&buffer->memory, sg, i) {
		struct page *page = sg_page(sg);

		__free_pages(page, compound_order(page));
		cond_resched();
	}
	sg_free_table(&buffer->memory);
}

static void system_heap_buffer_release(struct heap_buffer *buffer)
{
	system_heap_free_memory(buffer);
	kfree(buffer);
}

static const struct heap_buffer_ops system_heap_buffer_ops = {
	.owner = THIS_MODULE,
	.release = system_heap_buffer_release,
};

#ifdef CONFIG_MEMCG
/* The lowest limit on the memory of the caller's cgroup, in pages. */
static unsigned long system_heap_limit(void)
{
	unsigned long limit = PAGE_COUNTER_MAX;
	struct mem_cgroup *memcg;

	rcu_read_lock();
	for (memcg = mem_cgroup_from_task(current); memcg;
	     memcg = parent_mem_cgroup(memcg))
		limit = min(limit, READ_ONCE(memcg->memory.max));
	rcu_read_unlock();

	return limit;
}
#endif

/*
 * An allocation that can never succeed is refused at once, before it has
 * reclaimed the page cache. In a memory cgroup it would do worse: it would take
 * all that the cgroup may have, and meanwhile a page fault of any other task
 * there would wake the OOM killer.
 */
static bool system_heap_can_succeed(unsigned long n_pages)
{
	if (n_pages > totalram_pages())
		return false;

#ifdef CONFIG_MEMCG
	if (mem_accounting && memcg_kmem_online() &&
	    n_pages > system_heap_limit())
		return false;
#endif
	return true;
}

static struct dma_buf *system_heap_allocate(struct dma_heap *heap,
					    unsigned long len, u32 fd_flags,
					    u64 heap_flags)
{
	unsigned long n_pages = PAGE_ALIGN(len) >> PAGE_SHIFT;
	struct heap_buffer *buffer;
	struct dma_buf *dmabuf;
	unsigned int n_runs;
	LIST_HEAD(pages);
	int err;

	if (!system_heap_can_succeed(n_pages))
		return ERR_PTR(-ENOMEM);

	buffer = kzalloc_obj(*buffer);
	if (!buffer)
		return ERR_PTR(-ENOMEM);

	buffer->ops = &system_heap_buffer_ops;
	buffer->size = n_pages << PAGE_SHIFT;

	err = system_heap_alloc_pages(&pages, n_pages, &n_runs);
	if (err)
		goto err_free_pages;

	err = system_heap_set_memory(buffer, &pages, n_runs);
	if (err)
		goto err_free_pages;

	dmabuf = heap_buffer_export(buffer, heap, fd_flags);
	if (IS_ERR(dmabuf))
		system_heap_buffer_release(buffer);

	return dmabuf;

err_free_pages:
	system_heap_free_pages(&pages);
	kfree(buffer);
	return ERR_PTR(err);
}

static const struct dma_heap_ops system_heap_ops = {
	.allocate = system_heap_allocate,
};

static int __init system_heap_init(void)
{
	static const struct dma_heap_export_info exp_info = {
		.name = "system",
		.ops = &system_heap_ops,
	};

	return heap_buffer_add_heap(&exp_info);
}
module_init(system_heap_init);

MODULE_DESCRIPTION("dma-buf heap of system memory");
MODULE_LICENSE("GPL");
MODULE_ALIAS("dma-heap:system");
MODULE_IMPORT_NS("DMA_BUF");
MODULE_IMPORT_NS("DMA_BUF_HEAP");
MODULE_IMPORT_NS("HEAP_BUFFER");
