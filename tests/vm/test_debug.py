#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=debug append="cma=64M dma_heap.mem_accounting=1" memory=3072 timeout=5400
"""All tests of the modules, our core among them, under KASAN, lockdep, kmemleak and the atomic-sleep check.

HeapTest looks for complaints after each group of tests. That the four are awake is seen last, since lockdep says
nothing more once it has found a fault.
"""

import os
import unittest

import heaps
import test_module_accounting
import test_module_heaps
import test_module_import
import test_module_load
import test_module_stress
import vmtest


class AFirst(heaps.HeapTest):
    def test_the_core_is_ours(self):
        self.assertTrue(heaps.core_is_ours())
        self.assertIn("/updates/dmaheapd/", vmtest.run("modinfo", "-n", "dma_heap"))

    def test_the_checks_are_there(self):
        self.assertTrue(os.path.exists(heaps.KMEMLEAK))
        with open("/proc/lockdep_stats", encoding="ascii") as file:
            self.assertRegex(file.read(), r"(?m)^ *debug_locks: +1$")


class ZPlanted(unittest.TestCase):
    """Each of the four checks finds what is there to be found."""

    def plant(self, fault):
        heaps.mark_kernel_log("test: planted " + fault)
        vmtest.run("insmod", f"{heaps.TEST_MODULES}/planted_fault.ko", "fault=" + fault)
        self.addCleanup(vmtest.run, "rmmod", "planted_fault")
        return "\n".join(heaps.complaints(heaps.kernel_log_since("test: planted " + fault)))

    def test_1_atomic_sleep(self):
        self.assertIn("sleeping function called from invalid context", self.plant("atomic"))

    def test_2_lockdep(self):
        self.assertIn("possible circular locking dependency", self.plant("lockdep"))

    def test_3_kmemleak(self):
        heaps.kmemleak("clear")
        self.plant("kmemleak")
        self.assertIn("plant_kmemleak", heaps.leaks())

    def test_4_kasan(self):
        # Last: lockdep trusts nothing any more after this.
        self.assertIn("KASAN: slab-out-of-bounds", self.plant("kasan"))


if __name__ == "__main__":
    vmtest.main(AFirst, test_module_heaps, test_module_import, test_module_load, test_module_accounting,
                test_module_stress)
