#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=tristate,stock append="cma=64M"
"""Our CMA heap is not loaded when another module has a heap of the region already, under any of the region's names."""

import os
import unittest

import heaps
import vmtest


class Taken(unittest.TestCase):
    def test_our_heap_is_refused_under_both_names(self):
        heaps.modprobe("heap_buffer")
        heaps.load_test_module("test_heap")
        heaps.load_test_module("protected_heap", "name=reserved")
        before = sorted(os.listdir("/dev/dma_heap"))
        heaps.mark_kernel_log("test: Taken begins")

        for _ in range(2):
            done = vmtest.run("modprobe", "cma_heap", check=False)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("busy", done.stderr)
            self.assertFalse(vmtest.module_loaded("cma_heap"))
            self.assertEqual(sorted(os.listdir("/dev/dma_heap")), before)
        log = heaps.kernel_log_since("test: Taken begins")
        self.assertIn("cma_heap: there is a heap reserved already", log)
        self.assertEqual(heaps.complaints(log), [])
        os.close(heaps.allocate("reserved", 1))
        if os.path.exists(heaps.CGROUP_ROOT + "/dmem.capacity"):
            with open(heaps.CGROUP_ROOT + "/dmem.capacity", encoding="ascii") as file:
                self.assertNotIn(heaps.CMA, file.read())


if __name__ == "__main__":
    vmtest.main()
