#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M"
# testbed: kernel=stock append="cma=64M dma_heap.mem_accounting=1"
"""MemoryMax= and MemoryHigh= of a unit and of the slices above it bound its buffers, and the OOM killer kills nothing.

This holds whether the kernel or the daemon charges a heap."""

import os
import re

import vmtest
from accountingtest import CGROUPS, CMA, MIB, AccountingTest
from daemontest import DEADLINE, unit_cgroup

UNIT = "test-bounded.service"
SLICE = "testbounded.slice"


def kernel_accounts():
    with open("/sys/module/dma_heap/parameters/mem_accounting", encoding="ascii") as file:
        return file.read().strip() == "Y"


def memory(cgroup, name):
    with open(f"{CGROUPS}{cgroup}/memory.{name}", encoding="ascii") as file:
        return file.read()


def n_oom_kills(cgroup):
    return int(re.search(r"^oom_kill (\d+)$", memory(cgroup, "events"), re.MULTILINE)[1])


class Headroom(AccountingTest):
    CONFIG = "[Limits]\nClientBytesMax=infinity\n[Heap default_cma_region]\nClientBytesMax=100%\n"

    def assert_full(self, connection, cgroup, limit, held, size, **parameters):
        """Another 'size' bytes are refused for the limit of 'cgroup', which holds 'held' bytes and at most 16 MiB
        besides."""
        reply = connection.call("Allocate", {"size": size, **parameters})
        self.assert_error(reply, "QuotaExceeded", scope="cgroup", name=cgroup, resource="bytes", limit=limit,
                          requested=size)
        self.assertGreaterEqual(reply["used"], held)
        self.assertLess(reply["used"], held + 16 * MIB)

    def assert_unhurt(self, unit, *cgroups):
        self.assertEqual(vmtest.unit_property(unit, "ActiveState"), "active")
        for cgroup in (unit_cgroup(unit), *cgroups):
            with self.subTest(cgroup=cgroup):
                self.assertEqual(n_oom_kills(cgroup), 0)

    def fills(self, cgroup, size, limit, bounded=None, **parameters):
        """A client in 'cgroup' gets 'size' bytes, not twice as much, and 'size' bytes again once the first are free."""
        connection = self.client(cgroup)
        (fd,) = self.allocate(connection, size, **parameters)
        self.assert_full(connection, bounded or cgroup, limit, size, size, **parameters)
        os.close(fd)
        (fd,) = self.allocate(connection, size, **parameters)
        self.assert_full(connection, bounded or cgroup, limit, size, size, **parameters)
        return fd


class Unit(Headroom):
    def test_memory_max_bounds_the_units_buffers(self):
        cgroup = self.unit(UNIT, MemoryMax="64M")
        self.fills(cgroup, 40 * MIB, 64 * MIB)
        # An earlier value is no help: it includes memory that the start of the unit used and has freed by now.
        charged = int(memory(cgroup, "current"))
        (heap,) = (heap for heap in vmtest.call("ListHeaps")["heaps"] if heap["name"] == "system")
        if kernel_accounts():
            self.assertGreaterEqual(charged, 40 * MIB)
            self.assertEqual(heap["accounting"], "kernel")
        else:
            self.assertLess(charged, 20 * MIB)
            self.assertEqual(heap["accounting"], "daemon")
        self.assert_unhurt(UNIT)

    def test_memory_high_bounds_them_and_is_not_exceeded(self):
        cgroup = self.unit(UNIT, MemoryHigh="64M")
        self.fills(cgroup, 40 * MIB, 64 * MIB)
        self.assert_unhurt(UNIT)
        self.assertIn("\nhigh 0\n", "\n" + memory(cgroup, "events"))

    def test_a_region_counts_though_no_kernel_charges_it(self):
        cgroup = self.unit(UNIT, MemoryMax="32M")
        self.fills(cgroup, 20 * MIB, 32 * MIB, heap=CMA)
        self.assertLess(int(memory(cgroup, "current")), 20 * MIB)
        self.assert_unhurt(UNIT)

    def test_udmabuf_counts_once_though_every_kernel_charges_it(self):
        self.fills(self.unit(UNIT, MemoryMax="64M"), 40 * MIB, 64 * MIB, heap="udmabuf")
        self.assert_unhurt(UNIT)

    def test_buffers_of_all_heaps_are_added(self):
        """One of these heaps is charged by the daemon, the other one, in some modes, by the kernel."""
        connection = self.client(self.unit(UNIT, MemoryMax="64M"))
        self.allocate(connection, 20 * MIB, heap=CMA)
        self.allocate(connection, 20 * MIB)
        for heap in (CMA, "system"):
            with self.subTest(heap=heap):
                self.assert_full(connection, unit_cgroup(UNIT), 64 * MIB, 40 * MIB, 30 * MIB, heap=heap)
        self.assert_unhurt(UNIT)

    def test_page_cache_does_not_count(self):
        vmtest.run("modprobe", "brd", "rd_nr=1", "rd_size=30720")
        cgroup = self.unit(UNIT, "sh", "-c", "exec 3</dev/ram0; cat <&3 >/dev/null; exec sleep infinity",
                           MemoryMax="64M")
        vmtest.wait_until(lambda: file_cache(cgroup) >= 28 * MIB, DEADLINE, "the page cache is full")
        self.fills(cgroup, 40 * MIB, 64 * MIB)
        self.assert_unhurt(UNIT)

    def test_a_client_gets_as_much_as_its_headroom_says(self):
        """The client is the unit's own process, whose memory counts, too."""
        script = ("import vmtest\n"
                  "headroom = vmtest.call('GetUsage')['cgroupHeadroom']\n"
                  f"print(headroom in range({30 * MIB}, {64 * MIB}))\n"
                  "first = vmtest.allocate(size=headroom - (2 << 20))\n"
                  "print(first.error, vmtest.allocate(size=4 << 20).error)\n"
                  "print(vmtest.call('GetUsage')['cgroupHeadroom'] < 4 << 20)\n")
        said = vmtest.run_in_unit(UNIT, "python3", "-c", script, user="user1", MemoryMax="64M",
                                  WorkingDirectory=os.getcwd(), Environment="PYTHONPATH=" + os.getcwd())
        self.assertEqual(said, "True\nNone QuotaExceeded\nTrue\n")


class Above(Headroom):
    def setUp(self):
        super().setUp()
        vmtest.start_unit("test-keep.service", "sleep", "infinity", Slice=SLICE)
        self.addCleanup(vmtest.stop_unit, "test-keep.service")
        vmtest.systemctl("set-property", "--runtime", SLICE, "MemoryMax=64M")
        self.slice = unit_cgroup(SLICE)

    def test_memory_max_of_a_slice_bounds_its_units(self):
        cgroup = self.unit(UNIT, Slice=SLICE)
        self.fills(cgroup, 40 * MIB, 64 * MIB, bounded=self.slice)
        self.assert_unhurt(UNIT, self.slice)

    def test_buffers_of_a_removed_control_group_count_for_its_slice(self):
        (fd,) = self.allocate(self.client(self.unit(UNIT, Slice=SLICE)), 40 * MIB)
        self.end_unit(UNIT)
        other = self.client(self.unit("test-other.service", Slice=SLICE))
        self.assert_full(other, self.slice, 64 * MIB, 40 * MIB, 40 * MIB)
        os.close(fd)
        self.allocate(other, 40 * MIB)
        self.assert_unhurt("test-other.service", self.slice)

    def end_unit(self, unit):
        path = CGROUPS + unit_cgroup(unit)
        vmtest.stop_unit(unit)
        vmtest.wait_until(lambda: not os.path.exists(path), DEADLINE, "the control group is gone")

    def test_one_of_two_that_ask_at_once_gets_the_last_bytes(self):
        units = UNIT, "test-rival.service"
        connections = [self.client(self.unit(unit, Slice=SLICE)) for unit in units]
        for _ in range(3):
            for connection in connections:
                connection.send("Allocate", {"size": 40 * MIB})
            replies = [self.close_later(connection.receive()) for connection in connections]
            self.assertEqual(sorted(str(reply.error) for reply in replies), ["None", "QuotaExceeded"], replies)
            (refused,) = (reply for reply in replies if reply.error)
            self.assertEqual((refused["scope"], refused["name"]), ("cgroup", self.slice))
            for reply in replies:
                vmtest.close_fds(reply.fds)
                reply.fds.clear()
        for unit in units:
            self.assert_unhurt(unit, self.slice)


def file_cache(cgroup):
    return sum(int(size) for size in re.findall(r"^(?:in)?active_file (\d+)$", memory(cgroup, "stat"), re.MULTILINE))


if __name__ == "__main__":
    vmtest.main()
