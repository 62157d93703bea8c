// SPDX-License-Identifier: GPL-2.0-only
/* A heap whose module does not load, for tests of what is said about it. */

#include <linux/errno.h>
#include <linux/init.h>
#include <linux/module.h>

static ushort error = ENODEV;
module_param(error, ushort, 0444);
MODULE_PARM_DESC(error, "The errno that loading fails with");

static int __init failing_heap_init(void)
{
	/* 0 would be success, and the kernel has no error past MAX_ERRNO. */
	return error > 0 && error <= MAX_ERRNO ? -error : -EINVAL;
}
module_init(failing_heap_init);

MODULE_DESCRIPTION("A dma-buf heap that fails to load, for tests");
MODULE_LICENSE("GPL");
MODULE_ALIAS("dma-heap:failing_test");
