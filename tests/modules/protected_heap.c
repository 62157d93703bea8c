// SPDX-License-Identifier: GPL-2.0-only
/* A heap that is protected by its name only, for tests of that role; or one of another name. */

#include <linux/err.h>
#include <linux/init.h>
#include <linux/module.h>

#include "test_heap.h"

static char *name = "protected,test";
module_param(name, charp, 0444);
MODULE_PARM_DESC(name, "What the heap is called");

static const struct dma_heap_ops protected_heap_ops = {
	.allocate = test_heap_allocate,
};

static int __init protected_heap_init(void)
{
	const struct dma_heap_export_info exp_info = {
		.name = name,
		.ops = &protected_heap_ops,
	};

	return PTR_ERR_OR_ZERO(dma_heap_add(&exp_info));
}
module_init(protected_heap_init);

MODULE_DESCRIPTION("A dma-buf heap with a protected heap's name, for tests");
MODULE_LICENSE("GPL");
MODULE_ALIAS("dma-heap:protected,test");
MODULE_IMPORT_NS("DMA_BUF_HEAP");
MODULE_IMPORT_NS("DMAHEAPD_TEST");
