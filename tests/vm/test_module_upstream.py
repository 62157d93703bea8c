#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=upstream append="cma=64M dma_heap.mem_accounting=1"
"""The kernel's own heap modules work beside our cma_region. Over memory.max they kill, where ours return ENOMEM."""

import errno
import os
import unittest

import heaps
import vmtest
from heaps import MIB, SYSTEM
from test_module_load import Region


class Upstream(heaps.HeapTest):
    def test_the_heaps_are_the_kernels_own(self):
        for name in ("system_heap", "cma_heap"):
            with self.subTest(name=name):
                self.assertIn("/kernel/drivers/dma-buf/heaps/", vmtest.run("modinfo", "-n", name))
        self.assertFalse(vmtest.module_loaded("heap_buffer"))

    def test_our_modprobe_d_gives_them_aliases(self):
        for name, module in ((SYSTEM, "system_heap"), (heaps.CMA, "cma_heap")):
            with self.subTest(name=name):
                self.assertEqual(vmtest.run("modprobe", "--resolve-alias", "dma-heap:" + name).strip(), module)


class OverTheLimit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        heaps.load_heaps()

    def test_the_kernels_heap_over_the_limit_kills_a_process(self):
        """This is why the daemon refuses requests first, why workers are the first to be killed, and why we have a
        module.

        If the kernel's heap returns ENOMEM one day, this test fails, and those texts need a change."""
        with heaps.Cgroup("payer") as cgroup:
            cgroup.write("memory.max", 16 * MIB)
            outcomes = [outcome_of_too_much(cgroup) for _ in range(200)]
            killed = cgroup.keyed("memory.events")["oom_kill"]
        print(f"# of 200 allocations over memory.max: {outcomes.count('killed')} processes killed (oom_kill {killed}), "
              f"{outcomes.count(errno.ENOMEM)} times ENOMEM")
        self.assertEqual(set(outcomes), {"killed"})
        self.assertGreaterEqual(killed, 200)


def outcome_of_too_much(cgroup):
    """Allocates, in a new process, more than its control group may have. Returns 'killed' or the errno."""
    pid = os.fork()
    if pid == 0:
        cgroup.enter()
        try:
            heaps.allocate(SYSTEM, 24 * MIB)
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    status = os.waitpid(pid, 0)[1]
    return "killed" if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


if __name__ == "__main__":
    vmtest.main(Region)
