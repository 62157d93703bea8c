#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=in-tree append="cma=256M dma_heap.mem_accounting=1" memory=3072 timeout=1800
"""module/ in the tree of the oldest kernel that it supports, with the core and the system heap built in."""

import os

import heaps
import vmtest
from test_module_accounting import Dmem, Memory
from test_module_heaps import Ioctl, Sizes
from test_module_stress import Exhaustion, Killed, ManyAtOnce


class Kernel(heaps.HeapTest):
    def test_what_is_built_in_and_what_is_not(self):
        self.assertTrue(os.uname().release.endswith("-in-tree"))
        for name, where in (("dma_heap", "(builtin)"), ("heap_buffer", "(builtin)"), ("system_heap", "(builtin)"),
                            ("cma_region", "(builtin)"), ("cma_heap", "/kernel/drivers/dma-buf/dmaheapd/")):
            with self.subTest(name=name):
                self.assertIn(where, vmtest.run("modinfo", "-n", name))
        self.assertEqual(os.listdir("/sys/bus/cma_region/devices"), ["reserved"])


if __name__ == "__main__":
    # These need no test modules, which are built against our modules outside the kernel tree.
    vmtest.main(Kernel, Sizes, Ioctl, Exhaustion, ManyAtOnce, Killed, Memory, Dmem)
