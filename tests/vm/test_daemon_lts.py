#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=lts append="cma=64M"
"""Debian 13's own kernel has no mem_accounting, no CMA heap and no PIDFD_GET_INFO, and the daemon works without
them."""

import os

import vmtest
from daemontest import DaemonTest, unit_cgroup

PAGE = 4096
MIB = vmtest.MIB


class Lts(DaemonTest):
    def test_this_is_linux_6_12(self):
        self.assertTrue(os.uname().release.startswith("6.12."))
        self.assertFalse(os.path.exists("/sys/module/dma_heap/parameters/mem_accounting"))

    def test_the_system_heap_is_served(self):
        for name in ({}, {"role": "system"}, {"heap": "system"}):
            with self.subTest(**name):
                reply = self.assert_served(vmtest.allocate(size=MIB, count=3, **name), count=3)
                for fd in reply.fds:
                    self.assertEqual(vmtest.fdinfo(fd)["exp_name"], "system")
                    with vmtest.map_buffer(fd, MIB) as memory:
                        self.assertEqual(memory[:], bytes(MIB))
                        memory[-1] = 1

    def test_contiguous_says_why_not(self):
        reply = vmtest.allocate(role="contiguous", size=PAGE)
        self.assert_error(reply, "HeapUnavailable", heap="default_cma_region")
        self.assertIn("cma_heap", reply["reason"])
        self.assertIn(f"not installed for kernel {os.uname().release}", reply["reason"])

    def test_udmabuf_says_its_limit(self):
        """The limit is 64 MiB before Linux 7.3."""
        self.assert_served(vmtest.allocate(heap="udmabuf", size=64 * MIB), "udmabuf")
        reply = vmtest.allocate(heap="udmabuf", size=64 * MIB + 1)
        self.assert_error(reply, "HeapUnavailable", heap="udmabuf")
        for word in ("64 MiB", "udmabuf.size_limit_mb"):
            with self.subTest(word=word):
                self.assertIn(word, reply["reason"])

    def test_list_heaps_says_who_charges_and_what_failed(self):
        heaps = {heap["name"]: heap for heap in vmtest.call("ListHeaps")["heaps"]}
        self.assertEqual((heaps["system"]["state"], heaps["system"]["accounting"]), ("ready", "daemon"))
        self.assertEqual(heaps["default_cma_region"]["state"], "failed")

    def test_a_worker_is_in_its_clients_control_group(self):
        """The daemon finds the control group by the pid, because this kernel does not tell its id."""
        unit = "test-place.service"
        vmtest.start_unit(unit, "sleep", "infinity")
        self.addCleanup(vmtest.stop_unit, unit)
        cgroup = unit_cgroup(unit)
        _, connection = self.connected_peer(cgroup=cgroup)
        self.assertEqual(self.look_at_worker(connection, proc_cgroup), f"0::{cgroup}\n")


def proc_cgroup(pid):
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        return file.read()


if __name__ == "__main__":
    vmtest.main()
