// SPDX-License-Identifier: GPL-2.0-only
/*
 * Heaps one by one, as many as somebody asks for: each write to the parameter
 * 'add' adds another, or fails as that did.
 */

#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "heap_buffer.h"
#include "test_heap.h"

static unsigned int n_heaps;

static const struct dma_heap_ops many_heaps_ops = {
	.allocate = test_heap_allocate,
};

static int many_heaps_add(const char *value, const struct kernel_param *param)
{
	struct dma_heap_export_info exp_info = {
		.ops = &many_heaps_ops,
	};
	int err;

	/* This one is not to fail. */
	exp_info.name = kasprintf(GFP_KERNEL | __GFP_NOFAIL, "many-%u", n_heaps);

	err = heap_buffer_add_heap(&exp_info);
	if (err) {
		kfree(exp_info.name);
		return err;
	}

	/* Heaps cannot be removed, and what they are made of must stay. */
	if (!n_heaps++)
		__module_get(THIS_MODULE);
	return 0;
}

static const struct kernel_param_ops many_heaps_add_ops = {
	.set = many_heaps_add,
};
module_param_cb(add, &many_heaps_add_ops, NULL, 0200);
MODULE_PARM_DESC(add, "Written to, adds a heap many-N");

static int __init many_heaps_init(void)
{
	return 0;
}
module_init(many_heaps_init);

MODULE_DESCRIPTION("Many dma-buf heaps, for tests");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("DMAHEAPD_TEST");
MODULE_IMPORT_NS("HEAP_BUFFER");
