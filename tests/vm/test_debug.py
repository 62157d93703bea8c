#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=debug append="cma=64M dma_heap.mem_accounting=1" memory=3072 timeout=5400
"""All tests of the modules, with our core, under KASAN, lockdep, kmemleak and the atomic-sleep check.

HeapTest looks for their complaints after each class of tests. The last class plants faults to see that each check
works; it is the last because lockdep is silent after the first fault that it has found."""

import os
import unittest

import heaps
import test_module_accounting
import test_module_heaps
import test_module_import
import test_module_load
import test_module_stress
import vmtest


class Kernel(heaps.HeapTest):
    def test_the_core_is_ours(self):
        self.assertTrue(heaps.core_is_ours())
        self.assertIn("/updates/dmaheapd/", vmtest.run("modinfo", "-n", "dma_heap"))

    def test_the_kernels_checks_are_on(self):
        self.assertTrue(os.path.exists(heaps.KMEMLEAK))
        with open("/proc/lockdep_stats", encoding="ascii") as file:
            self.assertRegex(file.read(), r"(?m)^ *debug_locks: +1$")


class Planted(unittest.TestCase):
    """Each of the four checks finds a planted fault."""

    def plant(self, fault):
        heaps.mark_kernel_log("test: planted " + fault)
        vmtest.run("insmod", f"{heaps.TEST_MODULES}/planted_fault.ko", "fault=" + fault)
        self.addCleanup(vmtest.run, "rmmod", "planted_fault")
        return "\n".join(heaps.complaints(heaps.kernel_log_since("test: planted " + fault)))

    def test_1_a_sleep_in_atomic_context_is_found(self):
        self.assertIn("sleeping function called from invalid context", self.plant("atomic"))

    def test_2_a_circle_of_locks_is_found(self):
        self.assertIn("possible circular locking dependency", self.plant("lockdep"))

    def test_3_a_leak_is_found(self):
        heaps.kmemleak("clear")
        self.plant("kmemleak")
        self.assertIn("plant_kmemleak", heaps.leaks())

    def test_4_an_access_out_of_bounds_is_found(self):
        # This test is the last, because lockdep turns itself off after it.
        self.assertIn("KASAN: slab-out-of-bounds", self.plant("kasan"))


if __name__ == "__main__":
    vmtest.main(Kernel, test_module_heaps, test_module_import, test_module_load, test_module_accounting,
                test_module_stress)
