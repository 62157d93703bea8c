// SPDX-License-Identifier: GPL-2.0-only
/* A heap whose module does not load, for tests of what is said about it; until it does. */

#include <linux/err.h>
#include <linux/errno.h>
#include <linux/init.h>
#include <linux/module.h>

#include "test_heap.h"

static ushort error = ENODEV;
module_param(error, ushort, 0444);
MODULE_PARM_DESC(error, "The errno that loading fails with; 0: it does not");

static const struct dma_heap_ops failing_heap_ops = {
	.allocate = test_heap_allocate,
};

static int __init failing_heap_init(void)
{
	static const struct dma_heap_export_info exp_info = {
		.name = "failing_test",
		.ops = &failing_heap_ops,
	};

	if (error > 0)
		return error <= MAX_ERRNO ? -error : -EINVAL;

	return PTR_ERR_OR_ZERO(dma_heap_add(&exp_info));
}
module_init(failing_heap_init);

MODULE_DESCRIPTION("A dma-buf heap that fails to load, for tests");
MODULE_LICENSE("GPL");
MODULE_ALIAS("dma-heap:failing_test");
MODULE_IMPORT_NS("DMA_BUF_HEAP");
MODULE_IMPORT_NS("DMAHEAPD_TEST");
