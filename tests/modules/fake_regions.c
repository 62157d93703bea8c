// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bus of cma_region, which must not be loaded at the time, with devices for
 * areas that are not there: a machine has one area, some boards have several.
 */

#include <linux/device.h>
#include <linux/device/bus.h>
#include <linux/err.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/slab.h>

#define MAX_REGIONS	8

static char *names[MAX_REGIONS];
static unsigned int n_names;
module_param_array(names, charp, &n_names, 0444);
MODULE_PARM_DESC(names, "The regions, the first of them the default one");

static struct device *fake_root;

static int fake_region_uevent(const struct device *dev,
			      struct kobj_uevent_env *env)
{
	return add_uevent_var(env, "CMA_REGION_NAME=%s", dev_name(dev)) ?:
	       add_uevent_var(env, "CMA_REGION_DEFAULT=%d",
			      !strcmp(dev_name(dev), names[0]));
}

static const struct bus_type fake_bus = {
	.name = "cma_region",
	.uevent = fake_region_uevent,
};

static void fake_region_release(struct device *dev)
{
	kfree(dev);
}

static int fake_region_add(const char *name)
{
	struct device *dev = kzalloc_obj(*dev);
	int err;

	if (!dev)
		return -ENOMEM;

	dev->parent = fake_root;
	dev->bus = &fake_bus;
	dev->release = fake_region_release;
	device_initialize(dev);

	err = dev_set_name(dev, "%s", name) ?: device_add(dev);
	if (err)
		put_device(dev);

	return err;
}

static int fake_region_remove(struct device *dev, void *data)
{
	device_unregister(dev);
	return 0;
}

static void fake_regions_exit(void)
{
	bus_for_each_dev(&fake_bus, NULL, NULL, fake_region_remove);
	root_device_unregister(fake_root);
	bus_unregister(&fake_bus);
}
module_exit(fake_regions_exit);

static int __init fake_regions_init(void)
{
	unsigned int i;
	int err;

	err = bus_register(&fake_bus);
	if (err)
		return err;

	fake_root = root_device_register("fake_regions");
	if (IS_ERR(fake_root)) {
		bus_unregister(&fake_bus);
		return PTR_ERR(fake_root);
	}

	for (i = 0; !err && i < n_names; i++)
		err = fake_region_add(names[i]);

	if (err)
		fake_regions_exit();

	return err;
}
module_init(fake_regions_init);

MODULE_DESCRIPTION("CMA regions that are not there, for tests");
MODULE_LICENSE("GPL");
