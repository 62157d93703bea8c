// SPDX-License-Identifier: GPL-2.0-only
/*
 * The part of a dma-buf heap that does not depend on where its memory comes
 * from: it exports cached pages, which stay in memory, as a dma-buf.
 *
 * A heap allocates the pages and frees them. All that importers, user space and
 * the kernel do with a buffer in between is the same for every heap of ordinary
 * pages, and is here once.
 *
 * Coherency. CPU mappings are cached, so user space brackets its accesses with
 * DMA_BUF_IOCTL_SYNC. The memory is then handed to the CPU and back for each
 * device that has the buffer mapped at that moment. That is the list of
 * mappings, not that of attachments: an importer may attach without mapping,
 * and may map one attachment more than once.
 *
 * The dma-buf's reservation lock protects the list. The dma-buf core takes it
 * for mapping and unmapping, and we take it to walk the list.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/err.h>
#include <linux/highmem.h>
#include <linux/iosys-map.h>
#include <linux/kernel.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/namei.h>
#include <linux/path.h>
#include <linux/scatterlist.h>
#include <linux/sched/mm.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "heap_buffer.h"

/* Lengths in a scatterlist are 32 bits wide. */
#define HEAP_BUFFER_MAX_SEGMENT	SZ_1G

/**
 * struct heap_mapping - a buffer mapped for a device
 * @node:	in &heap_buffer.mappings
 * @dev:	the device
 * @dir:	the direction it was mapped in
 * @sgt:	the table that the importer gets; private to this mapping, as
 *		importers may write addresses into it
 */
struct heap_mapping {
	struct list_head node;
	struct device *dev;
	enum dma_data_direction dir;
	struct sg_table sgt;
};

/* The most a device takes in one piece: little if it uses bounce buffers. */
static unsigned int heap_buffer_max_segment(struct device *dev)
{
	size_t size = ALIGN_DOWN(dma_max_mapping_size(dev), PAGE_SIZE);

	return size ? min_t(size_t, size, HEAP_BUFFER_MAX_SEGMENT) : PAGE_SIZE;
}

/* Copies the table of the memory, with entries that are short enough for @dev. */
static int heap_buffer_copy_memory(const struct heap_buffer *buffer,
				   struct device *dev, struct sg_table *sgt)
{
	unsigned int max_segment = heap_buffer_max_segment(dev);
	struct scatterlist *from, *to;
	unsigned int i, n_entries = 0;
	int err;

	for_each_sgtable_sg(&buffer->memory, from, i)
		n_entries += DIV_ROUND_UP(from->length, max_segment);

	err = sg_alloc_table(sgt, n_entries, GFP_KERNEL);
	if (err)
		return err;

	to = sgt->sgl;
	for_each_sgtable_sg(&buffer->memory, from, i) {
		unsigned int done, length;

		for (done = 0; done < from->length; done += length) {
			length = min(from->length - done, max_segment);
			sg_set_page(to, sg_page(from) + (done >> PAGE_SHIFT),
				    length, 0);
			to = sg_next(to);
		}
	}

	return 0;
}

static struct sg_table *heap_buffer_map(struct dma_buf_attachment *attachment,
					enum dma_data_direction dir)
{
	struct heap_buffer *buffer = attachment->dmabuf->priv;
	struct heap_mapping *mapping;
	int err;

	mapping = kzalloc_obj(*mapping);
	if (!mapping)
		return ERR_PTR(-ENOMEM);

	mapping->dev = attachment->dev;
	mapping->dir = dir;

	err = heap_buffer_copy_memory(buffer, mapping->dev, &mapping->sgt);
	if (err)
		goto err_free;

	err = dma_map_sgtable(mapping->dev, &mapping->sgt, dir, 0);
	if (err)
		goto err_free_table;

	list_add(&mapping->node, &buffer->mappings);
	return &mapping->sgt;

err_free_table:
	sg_free_table(&mapping->sgt);
err_free:
	kfree(mapping);
	return ERR_PTR(err);
}

static void heap_buffer_unmap(struct dma_buf_attachment *attachment,
			      struct sg_table *sgt,
			      enum dma_data_direction dir)
{
	struct heap_mapping *mapping =
		container_of(sgt, struct heap_mapping, sgt);

	list_del(&mapping->node);
	dma_unmap_sgtable(mapping->dev, sgt, mapping->dir, 0);
	sg_free_table(sgt);
	kfree(mapping);
}

/*
 * The beginning and the end of a CPU access hand over each mapping in the
 * direction it was mapped in, and ignore the direction of the access. The DMA
 * API requires it, and a narrower direction would lose data: a CPU that only
 * writes may write a part of the buffer. If the device has a bounce buffer, the
 * rest must have been copied from there before all of it is copied back.
 */
static int heap_buffer_begin_cpu_access(struct dma_buf *dmabuf,
					enum dma_data_direction dir)
{
	struct heap_buffer *buffer = dmabuf->priv;
	struct heap_mapping *mapping;

	/* Not interruptible, here and in end: few callers check for errors. */
	dma_resv_lock(dmabuf->resv, NULL);

	list_for_each_entry(mapping, &buffer->mappings, node)
		dma_sync_sgtable_for_cpu(mapping->dev, &mapping->sgt,
					 mapping->dir);
	if (buffer->vaddr)
		invalidate_kernel_vmap_range(buffer->vaddr, buffer->size);

	dma_resv_unlock(dmabuf->resv);
	return 0;
}

static int heap_buffer_end_cpu_access(struct dma_buf *dmabuf,
				      enum dma_data_direction dir)
{
	struct heap_buffer *buffer = dmabuf->priv;
	struct heap_mapping *mapping;

	dma_resv_lock(dmabuf->resv, NULL);

	if (buffer->vaddr)
		flush_kernel_vmap_range(buffer->vaddr, buffer->size);
	list_for_each_entry(mapping, &buffer->mappings, node)
		dma_sync_sgtable_for_device(mapping->dev, &mapping->sgt,
					    mapping->dir);

	dma_resv_unlock(dmabuf->resv);
	return 0;
}

/*
 * All pages are mapped at once, since they stay as long as the buffer. So there
 * is no fault handler, and touching a buffer costs no faults. The dma-buf core
 * has checked that the area lies within the buffer.
 */
static int heap_buffer_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	struct heap_buffer *buffer = dmabuf->priv;
	unsigned long skip = vma->vm_pgoff;
	unsigned long addr = vma->vm_start;
	struct scatterlist *sg;
	unsigned int i;

	/*
	 * A private copy of a shared buffer makes no sense. This looks at
	 * VM_MAYSHARE: a shared mapping of a read-only dma-buf lacks VM_SHARED.
	 */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;

	for_each_sgtable_sg(&buffer->memory, sg, i) {
		unsigned long n_pages = sg->length >> PAGE_SHIFT;
		unsigned long size;
		int err;

		if (skip >= n_pages) {
			skip -= n_pages;
			continue;
		}

		size = min((n_pages - skip) << PAGE_SHIFT, vma->vm_end - addr);
		err = remap_pfn_range(vma, addr, page_to_pfn(sg_page(sg)) + skip,
				      size, vma->vm_page_prot);
		if (err)
			return err;

		skip = 0;
		addr += size;
		if (addr == vma->vm_end)
			break;
	}

	return 0;
}

static void *heap_buffer_vmap_pages(const struct heap_buffer *buffer)
{
	unsigned long n_pages = buffer->size >> PAGE_SHIFT;
	struct sg_page_iter iter;
	struct page **pages;
	unsigned long i = 0;
	void *vaddr;

	pages = kvmalloc_objs(*pages, n_pages);
	if (!pages)
		return NULL;

	for_each_sgtable_page(&buffer->memory, &iter, 0)
		pages[i++] = sg_page_iter_page(&iter);

	vaddr = vmap(pages, n_pages, VM_MAP, PAGE_KERNEL);
	kvfree(pages);
	return vaddr;
}

/* The core counts users: it calls this for the first, and vunmap for the last. */
static int heap_buffer_vmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	struct heap_buffer *buffer = dmabuf->priv;
	struct page *first = sg_page(buffer->memory.sgl);

	/* The kernel has mapped a single run of pages that is not in highmem. */
	if (buffer->memory.orig_nents == 1 && !PageHighMem(first))
		buffer->vaddr = page_address(first);
	else
		buffer->vaddr = heap_buffer_vmap_pages(buffer);
	if (!buffer->vaddr)
		return -ENOMEM;

	iosys_map_set_vaddr(map, buffer->vaddr);
	return 0;
}

static void heap_buffer_vunmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	struct heap_buffer *buffer = dmabuf->priv;

	if (is_vmalloc_addr(buffer->vaddr))
		vunmap(buffer->vaddr);
	buffer->vaddr = NULL;
}

static void heap_buffer_release(struct dma_buf *dmabuf)
{
	struct heap_buffer *buffer = dmabuf->priv;

	buffer->ops->release(buffer);
}

static const struct dma_buf_ops heap_buffer_dma_buf_ops = {
	.map_dma_buf = heap_buffer_map,
	.unmap_dma_buf = heap_buffer_unmap,
	.begin_cpu_access = heap_buffer_begin_cpu_access,
	.end_cpu_access = heap_buffer_end_cpu_access,
	.mmap = heap_buffer_mmap,
	.vmap = heap_buffer_vmap,
	.vunmap = heap_buffer_vunmap,
	.release = heap_buffer_release,
};

/**
 * heap_buffer_heap_exists() - look for a heap of a name
 * @name:	the name
 *
 * The core has no function for this, so it looks into sysfs; a heap that is
 * built in need not have a folder under /sys/module. It finds nothing while
 * sysfs is not mounted.
 *
 * Return: whether any module has added such a heap.
 */
bool heap_buffer_heap_exists(const char *name)
{
	struct path path;
	char *file;
	bool exists;

	file = kasprintf(GFP_KERNEL, "/sys/class/dma_heap/%s", name);
	if (!file)
		return false;

	exists = !kern_path(file, 0, &path);
	if (exists)
		path_put(&path);
	kfree(file);
	return exists;
}
EXPORT_SYMBOL_NS_GPL(heap_buffer_heap_exists, "HEAP_BUFFER");

/**
 * heap_buffer_add_heap() - add a heap, unless there is one of that name
 * @exp_info:	as for dma_heap_add()
 *
 * The kernel's own core (Linux 7.3) lets sysfs refuse a second heap of a name,
 * and sysfs prints a stack trace. All it means is that this module is not needed
 * here, so this looks first.
 *
 * Return: 0, -EBUSY if there is one, or another error.
 */
int heap_buffer_add_heap(const struct dma_heap_export_info *exp_info)
{
	struct dma_heap *heap;

	if (heap_buffer_heap_exists(exp_info->name))
		heap = ERR_PTR(-EBUSY);
	else
		heap = dma_heap_add(exp_info);
	if (IS_ERR(heap))
		pr_err("cannot add the heap %s: %pe\n", exp_info->name, heap);

	return PTR_ERR_OR_ZERO(heap);
}
EXPORT_SYMBOL_NS_GPL(heap_buffer_add_heap, "HEAP_BUFFER");

/**
 * heap_buffer_set_contiguous() - describe the memory of a contiguous buffer
 * @buffer:	the buffer; its size is set, its memory is not
 * @page:	the first page
 *
 * The heap frees the table, with sg_free_table().
 *
 * Return: 0 or -ENOMEM.
 */
int heap_buffer_set_contiguous(struct heap_buffer *buffer, struct page *page)
{
	size_t left = buffer->size;
	struct scatterlist *sg;
	unsigned int i;
	int err;

	err = sg_alloc_table(&buffer->memory,
			     DIV_ROUND_UP(left, HEAP_BUFFER_MAX_SEGMENT),
			     GFP_KERNEL);
	if (err)
		return err;

	for_each_sgtable_sg(&buffer->memory, sg, i) {
		size_t length = min_t(size_t, left, HEAP_BUFFER_MAX_SEGMENT);

		sg_set_page(sg, page, length, 0);
		page += length >> PAGE_SHIFT;
		left -= length;
	}

	return 0;
}
EXPORT_SYMBOL_NS_GPL(heap_buffer_set_contiguous, "HEAP_BUFFER");

/**
 * heap_buffer_export() - make a dma-buf of a buffer
 * @buffer:	the buffer, filled in by the heap; its pages must be zeroed, as
 *		all of them can be read through the dma-buf
 * @heap:	the heap; its name becomes the exporter's name
 * @fd_flags:	as given to the heap's allocate operation
 *
 * Return: the dma-buf, which now owns @buffer, or an error pointer. On an error
 * the caller still owns @buffer.
 */
struct dma_buf *heap_buffer_export(struct heap_buffer *buffer,
				   struct dma_heap *heap, u32 fd_flags)
{
	struct dma_buf_export_info exp_info = {
		.exp_name = dma_heap_get_name(heap),
		.owner = buffer->ops->owner,
		.ops = &heap_buffer_dma_buf_ops,
		.size = buffer->size,
		.flags = fd_flags,
		.priv = buffer,
	};
	struct mem_cgroup *old;
	struct dma_buf *dmabuf;

	INIT_LIST_HEAD(&buffer->mappings);
	buffer->vaddr = NULL;

	/*
	 * This allocates an inode, a file and more, about 1 KiB. The kernel would
	 * charge it to the caller's memory cgroup and wake the OOM killer at its
	 * limit, so it is charged to nobody.
	 */
	old = set_active_memcg(root_mem_cgroup);
	dmabuf = dma_buf_export(&exp_info);
	set_active_memcg(old);

	return dmabuf;
}
EXPORT_SYMBOL_NS_GPL(heap_buffer_export, "HEAP_BUFFER");

MODULE_DESCRIPTION("Pages as a dma-buf, for dma-buf heaps");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
MODULE_IMPORT_NS("DMA_BUF_HEAP");
