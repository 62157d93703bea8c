// SPDX-License-Identifier: GPL-2.0-only
/*
 * A heap that must be refused: under protected_heap's name or, on request, given
 * to the core without what a heap must have.
 */

#include <linux/err.h>
#include <linux/init.h>
#include <linux/module.h>
#include <linux/string.h>

#include "heap_buffer.h"
#include "test_heap.h"

static char *wrong = "";
module_param(wrong, charp, 0444);
MODULE_PARM_DESC(wrong, "What the heap lacks: name or ops; core: nothing, but ask the core itself");

static const struct dma_heap_ops twin_heap_ops = {
	.allocate = test_heap_allocate,
};

static int __init twin_heap_init(void)
{
	struct dma_heap_export_info exp_info = {
		.name = strcmp(wrong, "name") ? "protected,test" : "",
		.ops = strcmp(wrong, "ops") ? &twin_heap_ops : NULL,
	};

	if (!*wrong)
		return heap_buffer_add_heap(&exp_info);

	return PTR_ERR_OR_ZERO(dma_heap_add(&exp_info));
}
module_init(twin_heap_init);

MODULE_DESCRIPTION("A dma-buf heap that must be refused, for tests");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMA_BUF_HEAP");
MODULE_IMPORT_NS("DMAHEAPD_TEST");
MODULE_IMPORT_NS("HEAP_BUFFER");
