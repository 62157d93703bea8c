#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=upstream append="cma=64M dma_heap.mem_accounting=1"
"""The kernel's own heap modules: our cma_region beside them, and what they do over memory.max, where ours returns ENOMEM."""

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
            self.assertIn("/kernel/drivers/dma-buf/heaps/", vmtest.run("modinfo", "-n", name))
        self.assertFalse(vmtest.module_loaded("heap_buffer"))

    def test_an_alias_finds_them_by_our_modprobe_d(self):
        for name, module in ((SYSTEM, "system_heap"), (heaps.CMA, "cma_heap")):
            self.assertEqual(vmtest.run("modprobe", "--resolve-alias", "dma-heap:" + name).strip(), module)


class OverTheLimit(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        heaps.load_heaps()

    def test_somebody_is_killed(self):
        """Not ours to mend, but why the daemon refuses first, why workers are the first to be killed, and what our module
        is for. Should the kernel's return ENOMEM one day, this fails, and all of that can be told differently."""
        with heaps.Cgroup("payer") as cgroup:
            cgroup.write("memory.max", 16 * MIB)
            outcomes = [outcome_of_too_much(cgroup) for _ in range(200)]
            killed = cgroup.keyed("memory.events")["oom_kill"]
        print(f"# of 200 allocations over memory.max: {outcomes.count('killed')} processes killed (oom_kill {killed}), "
              f"{outcomes.count(errno.ENOMEM)} times ENOMEM")
        self.assertEqual(set(outcomes), {"killed"})
        self.assertGreaterEqual(killed, 200)


def outcome_of_too_much(cgroup):
    """Of a process that allocates more than its control group may have: 'killed', or the errno."""
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
