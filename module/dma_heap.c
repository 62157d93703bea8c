// SPDX-License-Identifier: GPL-2.0-only
/*
 * The core of the dma-buf heaps, for kernels that were built without it: a
 * class, a device node /dev/dma_heap/NAME for each heap, and one ioctl.
 *
 * It implements <uapi/linux/dma-heap.h> for user space and <linux/dma-heap.h>
 * for heaps. Neither can tell it from the core that is built in.
 *
 * A heap that was added stays until reboot: dma_heap_add() has no counterpart,
 * so neither a heap's module nor this one can be unloaded. A heap is freed only
 * if adding it fails. As its node may be open by then, the heap is reference
 * counted by its device.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cdev.h>
#include <linux/device.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/err.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/idr.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <uapi/linux/dma-heap.h>

#if IS_ENABLED(CONFIG_DMABUF_HEAPS)
#error "this kernel has a core of the dma-buf heaps; it needs no other"
#endif

#define DMA_HEAP_MAX_HEAPS	128

/**
 * struct dma_heap - a heap
 * @dev:	its device, whose name is the heap's
 * @cdev:	opened as /dev/dma_heap/NAME
 * @name:	its name, owned by the heap's module
 * @ops:	what it can do, owned by the heap's module
 * @priv:	private data of the heap's module
 */
struct dma_heap {
	struct device dev;
	struct cdev cdev;
	const char *name;
	const struct dma_heap_ops *ops;
	void *priv;
};

bool mem_accounting;
EXPORT_SYMBOL_NS_GPL(mem_accounting, "DMA_BUF_HEAP");
module_param(mem_accounting, bool, 0444);
MODULE_PARM_DESC(mem_accounting,
		 "Charge buffers to the control group of the task that allocates them (default: no)");

static dev_t dma_heap_devt;
static DEFINE_IDA(dma_heap_minors);
/* Held while a name is looked up and, if it is free, added. */
static DEFINE_MUTEX(dma_heap_add_lock);

static char *dma_heap_devnode(const struct device *dev, umode_t *mode)
{
	return kasprintf(GFP_KERNEL, "dma_heap/%s", dev_name(dev));
}

static const struct class dma_heap_class = {
	.name = "dma_heap",
	.devnode = dma_heap_devnode,
};

static int dma_heap_open(struct inode *inode, struct file *file)
{
	file->private_data = container_of(inode->i_cdev, struct dma_heap, cdev);

	return nonseekable_open(inode, file);
}

/*
 * The fd is installed last, because from then on another thread may close it or
 * pass it on. Until then every failure can be undone.
 */
static long dma_heap_ioctl_alloc(struct dma_heap *heap, void __user *arg,
				 size_t size)
{
	struct dma_heap_allocation_data data = {};
	struct dma_buf *dmabuf;
	size_t len;
	int fd;

	/*
	 * @size is the size of the caller's struct, which may be older or newer
	 * than ours. Fields that it lacks are 0; fields that we do not know are
	 * neither read nor written.
	 */
	if (size < offsetofend(struct dma_heap_allocation_data, fd))
		return -EINVAL;
	size = min(size, sizeof(data));
	if (copy_from_user(&data, arg, size))
		return -EFAULT;

	if (data.fd ||
	    data.fd_flags & ~DMA_HEAP_VALID_FD_FLAGS ||
	    data.heap_flags & ~DMA_HEAP_VALID_HEAP_FLAGS)
		return -EINVAL;

	/* The length may not fit a size_t of 32 bits, and aligning it may wrap. */
	if (data.len > SIZE_MAX)
		return -EINVAL;
	len = PAGE_ALIGN((size_t)data.len);
	if (!len)
		return -EINVAL;

	fd = get_unused_fd_flags(data.fd_flags & O_CLOEXEC);
	if (fd < 0)
		return fd;

	dmabuf = heap->ops->allocate(heap, len, data.fd_flags, data.heap_flags);
	if (IS_ERR(dmabuf)) {
		put_unused_fd(fd);
		return PTR_ERR(dmabuf);
	}

	data.fd = fd;
	if (copy_to_user(arg, &data, size)) {
		put_unused_fd(fd);
		dma_buf_put(dmabuf);
		return -EFAULT;
	}

	dma_buf_fd_install(dmabuf, fd);
	return 0;
}

static long dma_heap_ioctl(struct file *file, unsigned int cmd,
			   unsigned long arg)
{
	struct dma_heap *heap = file->private_data;

	/*
	 * The number selects the command, as in the kernel's own core; the size
	 * tells which version of the struct the caller has. The struct is read
	 * and written, so a command for only one direction is refused.
	 */
	if (_IOC_NR(cmd) != _IOC_NR(DMA_HEAP_IOCTL_ALLOC) ||
	    _IOC_DIR(cmd) != (_IOC_READ | _IOC_WRITE))
		return -EINVAL;

	return dma_heap_ioctl_alloc(heap, (void __user *)arg, _IOC_SIZE(cmd));
}

static const struct file_operations dma_heap_fops = {
	.owner = THIS_MODULE,
	.open = dma_heap_open,
	.unlocked_ioctl = dma_heap_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static void dma_heap_release(struct device *dev)
{
	struct dma_heap *heap = container_of(dev, struct dma_heap, dev);

	ida_free(&dma_heap_minors, MINOR(dev->devt) - MINOR(dma_heap_devt));
	kfree(heap);
}

static struct dma_heap *dma_heap_new(const struct dma_heap_export_info *info)
{
	struct dma_heap *heap;
	int err, index;

	heap = kzalloc_obj(*heap);
	if (!heap)
		return ERR_PTR(-ENOMEM);

	index = ida_alloc_max(&dma_heap_minors, DMA_HEAP_MAX_HEAPS - 1,
			      GFP_KERNEL);
	if (index < 0) {
		kfree(heap);
		return ERR_PTR(index);
	}

	heap->name = info->name;
	heap->ops = info->ops;
	heap->priv = info->priv;

	device_initialize(&heap->dev);
	heap->dev.class = &dma_heap_class;
	heap->dev.devt = dma_heap_devt + index;
	heap->dev.release = dma_heap_release;
	cdev_init(&heap->cdev, &dma_heap_fops);
	heap->cdev.owner = THIS_MODULE;

	err = dev_set_name(&heap->dev, "%s", info->name);
	if (err) {
		put_device(&heap->dev);
		return ERR_PTR(err);
	}

	return heap;
}

static bool dma_heap_exists(const char *name)
{
	struct device *dev = class_find_device_by_name(&dma_heap_class, name);

	put_device(dev);
	return dev;
}

/**
 * dma_heap_get_drvdata() - get the private data of a heap
 * @heap:	the heap
 *
 * Return: &dma_heap_export_info.priv.
 */
void *dma_heap_get_drvdata(struct dma_heap *heap)
{
	return heap->priv;
}
EXPORT_SYMBOL_NS_GPL(dma_heap_get_drvdata, "DMA_BUF_HEAP");

/**
 * dma_heap_get_name() - get the name of a heap
 * @heap:	the heap
 *
 * Return: &dma_heap_export_info.name.
 */
const char *dma_heap_get_name(struct dma_heap *heap)
{
	return heap->name;
}
EXPORT_SYMBOL_NS_GPL(dma_heap_get_name, "DMA_BUF_HEAP");

/**
 * dma_heap_add() - add a heap
 * @exp_info:	describes the heap; all that it points to must stay for ever
 *
 * The heap may be used before this returns.
 *
 * Return: the heap, or an error pointer: -EINVAL if the name or the allocate
 * operation is missing, -ENOSPC if there are %DMA_HEAP_MAX_HEAPS heaps, -EBUSY
 * if there is a heap of that name, or another error. It is not -EEXIST, which
 * a module's init returns to say that the module is loaded already.
 */
struct dma_heap *dma_heap_add(const struct dma_heap_export_info *exp_info)
{
	struct dma_heap *heap;
	int err;

	if (!exp_info->name || !*exp_info->name ||
	    !exp_info->ops || !exp_info->ops->allocate)
		return ERR_PTR(-EINVAL);

	guard(mutex)(&dma_heap_add_lock);

	if (dma_heap_exists(exp_info->name)) {
		pr_err("there is a heap %s already\n", exp_info->name);
		return ERR_PTR(-EBUSY);
	}

	heap = dma_heap_new(exp_info);
	if (IS_ERR(heap))
		return heap;

	err = cdev_device_add(&heap->cdev, &heap->dev);
	if (err) {
		put_device(&heap->dev);
		return ERR_PTR(err);
	}

	return heap;
}
EXPORT_SYMBOL_NS_GPL(dma_heap_add, "DMA_BUF_HEAP");

/* An early initcall: when all is built in, the heaps come after their core. */
static int __init dma_heap_init(void)
{
	int err;

	err = alloc_chrdev_region(&dma_heap_devt, 0, DMA_HEAP_MAX_HEAPS,
				  dma_heap_class.name);
	if (err)
		return err;

	err = class_register(&dma_heap_class);
	if (err)
		unregister_chrdev_region(dma_heap_devt, DMA_HEAP_MAX_HEAPS);

	return err;
}
subsys_initcall(dma_heap_init);

MODULE_DESCRIPTION("Core of the dma-buf heaps");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
