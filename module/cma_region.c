// SPDX-License-Identifier: GPL-2.0-only
/*
 * A bus on which each CMA area that heaps can serve is a device, named as the
 * area is.
 *
 * The kernel lists its areas under /sys/kernel/mm/cma, with those for huge pages
 * and crash kernels among them, but sends no uevent for an area. A device has
 * one. So udev can act on an area when the machine boots, and need not know what
 * the platform calls it:
 *
 *	SUBSYSTEM=cma_region
 *	CMA_REGION_NAME=reserved
 *	CMA_REGION_DEFAULT=1
 *	MODALIAS=cma-region:reserved
 *
 * The bus has no drivers, and no module has an alias for such a MODALIAS unless
 * an administrator adds one: user space decides whether it wants a heap.
 *
 * Areas are made at boot and stay. So the devices are made when this module is
 * loaded and removed when it is unloaded, and none comes or goes in between.
 */

#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/cma.h>
#include <linux/device.h>
#include <linux/device/bus.h>
#include <linux/dma-map-ops.h>
#include <linux/err.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

/**
 * struct cma_region - an area as a device
 * @dev:	the device
 * @cma:	the area
 */
struct cma_region {
	struct device dev;
	struct cma *cma;
};

static const char *cma_region_get_name(const struct device *dev)
{
	return cma_get_name(container_of(dev, struct cma_region, dev)->cma);
}

/* The default area serves the devices that were given no area of their own. */
static bool cma_region_is_default(const struct device *dev)
{
	return container_of(dev, struct cma_region, dev)->cma ==
	       dev_get_cma_area(NULL);
}

static ssize_t name_show(struct device *dev, struct device_attribute *attr,
			 char *buf)
{
	return sysfs_emit(buf, "%s\n", cma_region_get_name(dev));
}
static DEVICE_ATTR_RO(name);

static ssize_t default_show(struct device *dev, struct device_attribute *attr,
			    char *buf)
{
	return sysfs_emit(buf, "%d\n", cma_region_is_default(dev));
}
static DEVICE_ATTR_RO(default);

static ssize_t modalias_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	return sysfs_emit(buf, "cma-region:%s\n", cma_region_get_name(dev));
}
static DEVICE_ATTR_RO(modalias);

static struct attribute *cma_region_attrs[] = {
	&dev_attr_name.attr,
	&dev_attr_default.attr,
	&dev_attr_modalias.attr,
	NULL
};
ATTRIBUTE_GROUPS(cma_region);

static int cma_region_uevent(const struct device *dev,
			     struct kobj_uevent_env *env)
{
	const char *name = cma_region_get_name(dev);

	return add_uevent_var(env, "CMA_REGION_NAME=%s", name) ?:
	       add_uevent_var(env, "CMA_REGION_DEFAULT=%d",
			      cma_region_is_default(dev)) ?:
	       add_uevent_var(env, "MODALIAS=cma-region:%s", name);
}

static const struct bus_type cma_region_bus = {
	.name = "cma_region",
	.dev_groups = cma_region_groups,
	.uevent = cma_region_uevent,
};

/* The regions' parent: their names could clash with others in /sys/devices. */
static struct device *cma_region_root;

static void cma_region_release(struct device *dev)
{
	kfree(container_of(dev, struct cma_region, dev));
}

static int cma_region_add(struct cma *cma)
{
	struct cma_region *region;
	struct device *other;
	int err;

	/* Two nodes of a device tree may have one name: the first gets a device. */
	other = bus_find_device_by_name(&cma_region_bus, NULL, cma_get_name(cma));
	if (other) {
		pr_warn("there are two regions %s\n", cma_get_name(cma));
		put_device(other);
		return 0;
	}

	region = kzalloc_obj(*region);
	if (!region)
		return -ENOMEM;

	region->cma = cma;
	region->dev.parent = cma_region_root;
	region->dev.bus = &cma_region_bus;
	region->dev.release = cma_region_release;
	device_initialize(&region->dev);

	err = dev_set_name(&region->dev, "%s", cma_get_name(cma)) ?:
	      device_add(&region->dev);
	if (err) {
		pr_err("cannot add %s: %d\n", cma_get_name(cma), err);
		put_device(&region->dev);
	}

	return err;
}

static int cma_region_remove(struct device *dev, void *data)
{
	device_unregister(dev);
	return 0;
}

static void cma_region_remove_all(void)
{
	bus_for_each_dev(&cma_region_bus, NULL, NULL, cma_region_remove);
	root_device_unregister(cma_region_root);
	bus_unregister(&cma_region_bus);
}

static int __init cma_region_init(void)
{
	struct cma *cma, *default_cma = dev_get_cma_area(NULL);
	unsigned int i;
	int err;

	err = bus_register(&cma_region_bus);
	if (err)
		return err;

	cma_region_root = root_device_register("cma_region");
	if (IS_ERR(cma_region_root)) {
		bus_unregister(&cma_region_bus);
		return PTR_ERR(cma_region_root);
	}

	if (default_cma)
		err = cma_region_add(default_cma);

	for (i = 0; !err && (cma = dma_contiguous_get_area_by_idx(i)); i++)
		if (cma != default_cma)
			err = cma_region_add(cma);

	if (err)
		cma_region_remove_all();

	return err;
}
module_init(cma_region_init);

static void __exit cma_region_exit(void)
{
	cma_region_remove_all();
}
module_exit(cma_region_exit);

MODULE_DESCRIPTION("Bus of the CMA areas that dma-buf heaps can serve");
MODULE_LICENSE("GPL");
