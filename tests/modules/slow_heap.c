// SPDX-License-Identifier: GPL-2.0-only
/* A heap whose module is slow to load, for tests of who waits for it. */

#include <linux/delay.h>
#include <linux/err.h>
#include <linux/init.h>
#include <linux/module.h>

#include "test_heap.h"

static unsigned int delay_ms = 5000;
module_param(delay_ms, uint, 0644);
MODULE_PARM_DESC(delay_ms, "How long loading takes, in milliseconds; may be cut short meanwhile");

static const struct dma_heap_ops slow_heap_ops = {
	.allocate = test_heap_allocate,
};

static int __init slow_heap_init(void)
{
	static const struct dma_heap_export_info exp_info = {
		.name = "slow_test",
		.ops = &slow_heap_ops,
	};

	for (unsigned int ms = 0; ms < READ_ONCE(delay_ms); ms += 50)
		msleep(50);

	return PTR_ERR_OR_ZERO(dma_heap_add(&exp_info));
}
module_init(slow_heap_init);

MODULE_DESCRIPTION("A dma-buf heap that is slow to load, for tests");
MODULE_LICENSE("GPL");
MODULE_ALIAS("dma-heap:slow_test");
MODULE_IMPORT_NS("DMA_BUF_HEAP");
MODULE_IMPORT_NS("DMAHEAPD_TEST");
