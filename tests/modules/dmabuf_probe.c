// SPDX-License-Identifier: GPL-2.0-only
/*
 * What an importer in the kernel does with a dma-buf, on request from user
 * space, for tests and benchmarks: /dev/dmabuf_probe.
 */

#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/init.h>
#include <linux/io.h>
#include <linux/iosys-map.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/scatterlist.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "dmabuf_probe.h"

static struct platform_device *probe_device;

static bool probe_is_filled(const u8 *data, size_t size, u8 byte)
{
	return !memchr_inv(data, byte, size);
}

/* Maps it, twice, as importers may; has a look, and leaves @fill behind. */
static int probe_vmap(struct dma_buf *dmabuf, struct dmabuf_probe *probe)
{
	struct iosys_map map, again;
	int err;

	err = dma_buf_begin_cpu_access(dmabuf, DMA_BIDIRECTIONAL);
	if (err)
		return err;

	err = dma_buf_vmap_unlocked(dmabuf, &map);
	if (err)
		goto end;

	err = dma_buf_vmap_unlocked(dmabuf, &again);
	if (!err) {
		probe->found = iosys_map_is_equal(&map, &again) &&
			       probe_is_filled(map.vaddr, dmabuf->size,
					       probe->expect);
		memset(map.vaddr, probe->fill, dmabuf->size);
		dma_buf_vunmap_unlocked(dmabuf, &again);
	}
	dma_buf_vunmap_unlocked(dmabuf, &map);
end:
	return dma_buf_end_cpu_access(dmabuf, DMA_BIDIRECTIONAL) ?: err;
}

/* Only how long it takes. */
static int probe_vmap_time(struct dma_buf *dmabuf, struct dmabuf_probe *probe)
{
	struct iosys_map map;
	u64 start = ktime_get_ns();
	int err;

	err = dma_buf_vmap_unlocked(dmabuf, &map);
	if (err)
		return err;

	dma_buf_vunmap_unlocked(dmabuf, &map);
	probe->value = ktime_get_ns() - start;
	return 0;
}

/*
 * Maps the buffer for a device, with a second mapping of the same attachment at
 * the same time, while the CPU accesses it.
 */
static int probe_map(struct dma_buf *dmabuf, struct dmabuf_probe *probe)
{
	struct device *dev = &probe_device->dev;
	struct dma_buf_attachment *attachment;
	struct sg_table *sgt, *again;
	struct scatterlist *sg;
	dma_addr_t end = 0;
	unsigned int i;
	int err;

	attachment = dma_buf_attach(dmabuf, dev);
	if (IS_ERR(attachment))
		return PTR_ERR(attachment);

	sgt = dma_buf_map_attachment_unlocked(attachment, DMA_BIDIRECTIONAL);
	if (IS_ERR(sgt)) {
		err = PTR_ERR(sgt);
		goto detach;
	}

	again = dma_buf_map_attachment_unlocked(attachment, DMA_FROM_DEVICE);
	if (IS_ERR(again)) {
		err = PTR_ERR(again);
		goto unmap;
	}

	err = dma_buf_begin_cpu_access(dmabuf, DMA_FROM_DEVICE) ?:
	      dma_buf_end_cpu_access(dmabuf, DMA_FROM_DEVICE);

	probe->value = 0;
	probe->found = 0;
	probe->n_runs = 0;
	for_each_sgtable_dma_sg(sgt, sg, i) {
		if (!i || sg_dma_address(sg) != end)
			probe->n_runs++;
		end = sg_dma_address(sg) + sg_dma_len(sg);
		probe->value += sg_dma_len(sg);
		probe->found++;
	}

	dma_buf_unmap_attachment_unlocked(attachment, again, DMA_FROM_DEVICE);
unmap:
	dma_buf_unmap_attachment_unlocked(attachment, sgt, DMA_BIDIRECTIONAL);
detach:
	dma_buf_detach(dmabuf, attachment);
	return err;
}

/* What the device reads and writes: without an IOMMU, at physical addresses. */
static bool probe_device_is_filled(struct sg_table *sgt, u8 byte)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_dma_sg(sgt, sg, i)
		if (!probe_is_filled(phys_to_virt(sg_dma_address(sg)),
				     sg_dma_len(sg), byte))
			return false;

	return true;
}

static void probe_device_fill(struct sg_table *sgt, u8 byte)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_dma_sg(sgt, sg, i)
		memset(phys_to_virt(sg_dma_address(sg)), byte, sg_dma_len(sg));
}

/* Passes the buffer to and fro between the CPU, at @cpu, and the device. */
static int probe_take_turns(struct dma_buf *dmabuf, struct dmabuf_probe *probe,
			    struct sg_table *sgt, void *cpu)
{
	const u8 device_byte = ~probe->expect, cpu_byte = probe->fill + 1;
	int err;

	if (probe_device_is_filled(sgt, probe->expect))
		probe->found |= DMABUF_PROBE_SHARE_MAP;

	probe_device_fill(sgt, device_byte);
	if (probe_is_filled(cpu, dmabuf->size, probe->expect))
		probe->found |= DMABUF_PROBE_SHARE_APART;

	err = dma_buf_begin_cpu_access(dmabuf, DMA_BIDIRECTIONAL);
	if (err)
		return err;
	if (probe_is_filled(cpu, dmabuf->size, device_byte))
		probe->found |= DMABUF_PROBE_SHARE_BEGIN;

	memset(cpu, cpu_byte, dmabuf->size);
	if (probe_device_is_filled(sgt, device_byte))
		probe->found |= DMABUF_PROBE_SHARE_KEEP;

	err = dma_buf_end_cpu_access(dmabuf, DMA_BIDIRECTIONAL);
	if (err)
		return err;
	if (probe_device_is_filled(sgt, cpu_byte))
		probe->found |= DMABUF_PROBE_SHARE_END;

	probe_device_fill(sgt, probe->fill);
	return 0;
}

static int probe_share(struct dma_buf *dmabuf, struct dmabuf_probe *probe)
{
	struct dma_buf_attachment *attachment;
	struct sg_table *sgt;
	struct iosys_map map;
	int err;

	probe->found = 0;
	attachment = dma_buf_attach(dmabuf, &probe_device->dev);
	if (IS_ERR(attachment))
		return PTR_ERR(attachment);

	err = dma_buf_vmap_unlocked(dmabuf, &map);
	if (err)
		goto detach;

	sgt = dma_buf_map_attachment_unlocked(attachment, DMA_BIDIRECTIONAL);
	if (IS_ERR(sgt)) {
		err = PTR_ERR(sgt);
		goto vunmap;
	}

	err = probe_take_turns(dmabuf, probe, sgt, map.vaddr);
	dma_buf_unmap_attachment_unlocked(attachment, sgt, DMA_BIDIRECTIONAL);
	if (!err && probe_is_filled(map.vaddr, dmabuf->size, probe->fill))
		probe->found |= DMABUF_PROBE_SHARE_UNMAP;
vunmap:
	dma_buf_vunmap_unlocked(dmabuf, &map);
detach:
	dma_buf_detach(dmabuf, attachment);
	return err;
}

static long probe_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct dmabuf_probe probe;
	struct dma_buf *dmabuf;
	int err;

	if (copy_from_user(&probe, (void __user *)arg, sizeof(probe)))
		return -EFAULT;

	dmabuf = dma_buf_get(probe.fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);

	switch (cmd) {
	case DMABUF_PROBE_VMAP:
		err = probe_vmap(dmabuf, &probe);
		break;
	case DMABUF_PROBE_VMAP_TIME:
		err = probe_vmap_time(dmabuf, &probe);
		break;
	case DMABUF_PROBE_MAP:
		err = probe_map(dmabuf, &probe);
		break;
	case DMABUF_PROBE_SHARE:
		err = probe_share(dmabuf, &probe);
		break;
	default:
		err = -ENOTTY;
	}
	dma_buf_put(dmabuf);

	if (!err && copy_to_user((void __user *)arg, &probe, sizeof(probe)))
		err = -EFAULT;
	return err;
}

static const struct file_operations probe_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = probe_ioctl,
};

static struct miscdevice probe_misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "dmabuf_probe",
	.fops = &probe_fops,
};

static int __init probe_init(void)
{
	int err;

	probe_device = platform_device_register_simple("dmabuf_probe", -1, NULL, 0);
	if (IS_ERR(probe_device))
		return PTR_ERR(probe_device);

	err = dma_coerce_mask_and_coherent(&probe_device->dev, DMA_BIT_MASK(64));
	if (err)
		goto err_unregister;
	dma_set_max_seg_size(&probe_device->dev, UINT_MAX);

	err = misc_register(&probe_misc);
	if (err)
		goto err_unregister;

	return 0;

err_unregister:
	platform_device_unregister(probe_device);
	return err;
}
module_init(probe_init);

static void __exit probe_exit(void)
{
	misc_deregister(&probe_misc);
	platform_device_unregister(probe_device);
}
module_exit(probe_exit);

MODULE_DESCRIPTION("An importer of dma-bufs, for tests");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF");
