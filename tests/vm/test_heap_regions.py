#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" timeout=900
"""Several CMA regions come and go while clients listen, also in a storm of events.

The machine has only one region. The others are directories mounted over /sys/kernel/mm/cma, and devices of a bus that
tests/modules registers."""

import contextlib
import glob
import os
import signal
import threading
import time

import vmtest
from daemontest import (DEADLINE, INVALID_PARAMETER, MODPROBE_D, TEST_MODULES, DaemonTest, daemon_pid,
                        install_test_modules)
from workertest import service_with

MIB = vmtest.MIB
PAGE = 4096
CMA = "default_cma_region"
AREAS = "/run/cma-areas"
SYSFS_AREAS = "/sys/kernel/mm/cma"

# Heaps for the regions that the machine does not have. The first two modules make one; 'dummy' makes none.
DECLARATIONS = """
alias dma-heap:npu protected_heap
options protected_heap name=npu
alias dma-heap:camera slow_heap
options slow_heap delay_ms=1
alias dma-heap:hugetlb0 dummy
"""


def add_area(name, size):
    os.makedirs(f"{AREAS}/{name}", exist_ok=True)
    with open(f"{AREAS}/{name}/total_pages", "w", encoding="ascii") as file:
        file.write(f"{size // PAGE}\n")


def heaps():
    return {heap["name"]: heap for heap in vmtest.call("ListHeaps")["heaps"]}


class RegionTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(AREAS):
            install_test_modules()
            vmtest.run("rmmod", "cma_region")
            for name, size in (("reserved", 64 * MIB), ("camera", 32 * MIB), ("hugetlb0", 1024 * MIB),
                               ("crashkernel", 256 * MIB)):
                add_area(name, size)
            vmtest.run("mount", "--bind", AREAS, SYSFS_AREAS)
            os.makedirs(MODPROBE_D, exist_ok=True)
            with open(f"{MODPROBE_D}/regions.conf", "w", encoding="ascii") as file:
                file.write(DECLARATIONS)
        super().setUpClass()

    def subscribe(self):
        """A connection that subscribes to changes, and has read its first list."""
        connection = vmtest.Varlink(timeout=DEADLINE)
        self.addCleanup(connection.close)
        connection.send("ListHeaps", more=True)
        self.assertTrue(connection.receive().continues)
        return connection

    def wait_told(self, connection, name, **expected):
        """Reads lists until one has a heap of that name with these fields; the heap."""
        while True:
            found = {heap["name"]: heap for heap in connection.receive()["heaps"]}.get(name)
            if found is not None and all(found.get(key) == value for key, value in expected.items()):
                return found


class Sysfs(RegionTest):
    """There is no bus cma_region that names the default region."""

    def test_regions_of_loadable_heaps_are_known_from_sysfs(self):
        found = heaps()
        for name, region, size in ((CMA, "reserved", 64), ("reserved", "reserved", 64), ("camera", "camera", 32)):
            with self.subTest(name=name):
                heap = found[name]
                self.assertEqual((heap["state"], heap.get("region"), heap.get("size"), heap["roles"]),
                                 ("loadable", region, size * MIB, ["contiguous"]))

    def test_the_kernels_own_regions_are_left_out(self):
        heap = heaps()["hugetlb0"]
        self.assertEqual((heap.get("region"), heap.get("size"), heap["roles"]), (None, None, []))

    def test_heaps_of_other_boards_are_not_listed(self):
        self.assertLessEqual({"linux,cma", "default-pool"} & set(heaps()), set())


class Bus(RegionTest):
    def test_1_the_heap_of_a_new_region_is_loaded(self):
        connection = self.subscribe()
        add_area("npu", 8 * MIB)
        vmtest.run("insmod", f"{TEST_MODULES}/fake_regions.ko", "names=reserved,camera,npu")
        # The daemon loads the heap without a request for it.
        heap = self.wait_told(connection, "npu", state="ready")
        self.assertEqual((heap["region"], heap["size"], heap["roles"], heap["module"]),
                         ("npu", 8 * MIB, ["contiguous"], "protected_heap"))
        self.assertEqual(heaps()[CMA]["region"], "reserved")
        vmtest.wait_until(lambda: vmtest.unit_property("cma-region.target", "ActiveState") == "active", DEADLINE,
                          "the target is reached")

    def test_2_that_heap_serves_requests(self):
        self.assert_served(vmtest.allocate(heap="npu", size=PAGE), "npu")
        self.assert_served(vmtest.allocate(role="contiguous", size=PAGE), "npu")  # the only one whose module is loaded

    def test_3_the_regions_size_is_the_limit(self):
        self.assert_error(vmtest.allocate(heap="npu", size=8 * MIB + 1), INVALID_PARAMETER, parameter="size")
        with vmtest.Varlink(timeout=DEADLINE) as connection:
            # One client may have half of the region.
            self.assert_served(connection.call("Allocate", {"heap": "npu", "size": MIB, "count": 4}), "npu", 4)
            self.assert_error(connection.call("Allocate", {"heap": "npu", "size": PAGE}), "QuotaExceeded", scope="heap",
                              resource="bytes", limit=4 * MIB, used=4 * MIB, requested=PAGE)

    def test_4_a_heap_that_is_loaded_by_hand_is_found(self):
        connection = self.subscribe()
        vmtest.run("modprobe", "slow_heap")
        heap = self.wait_told(connection, "slow_test", state="ready")
        self.assertEqual(heap.get("region"), None)
        self.assert_served(vmtest.allocate(heap="slow_test", size=PAGE), "slow_test")

    def test_5_a_region_can_go(self):
        connection = self.subscribe()
        os.unlink(f"{AREAS}/npu/total_pages")
        os.rmdir(f"{AREAS}/npu")
        vmtest.run("rmmod", "fake_regions")
        self.assertEqual(self.wait_told(connection, "npu", region=None)["state"], "ready")
        # Without the bus, its name tells which region is the default one.
        self.assertEqual(heaps()[CMA]["region"], "reserved")


def send_events(n):
    """Triggers n events of the heaps in turn, as 'udevadm trigger' does."""
    nodes = sorted(glob.glob("/sys/class/dma_heap/*/uevent"))
    for i in range(n):
        with open(nodes[i % len(nodes)], "w", encoding="ascii") as file:
            file.write("change")


class Storm(RegionTest):
    N_EVENTS = 500

    def test_no_event_is_lost_and_no_client_waits(self):
        listener = self.subscribe()
        with vmtest.Varlink(timeout=DEADLINE) as connection:
            quiet = [self.time_of_call(connection) for _ in range(20)]
            storm = threading.Thread(target=send_events, args=(self.N_EVENTS,))
            storm.start()
            busy = [self.time_of_call(connection) for _ in range(10)]
            vmtest.run("insmod", f"{TEST_MODULES}/twin_heap.ko", "wrong=core")
            settled = threading.Thread(target=vmtest.run, args=("udevadm", "settle", "--timeout=300"))
            settled.start()
            while storm.is_alive() or settled.is_alive():
                busy.append(self.time_of_call(connection))
            storm.join()
            settled.join()
        self.wait_told(listener, "protected,test", state="ready", roles=["protected"])
        quiet.sort()
        busy.sort()
        print(f"# {self.N_EVENTS} events: {len(busy)} calls meanwhile, p50 {busy[len(busy) // 2] * 1000:.1f} ms, "
              f"max {busy[-1] * 1000:.1f} ms; before, p50 {quiet[10] * 1000:.1f} ms, max {quiet[-1] * 1000:.1f} ms")
        self.assertLess(busy[-1], 10)
        self.assertLess(busy[len(busy) // 2], 1)
        self.assert_served(vmtest.allocate(role="protected", size=PAGE), "protected,test")

    def time_of_call(self, connection):
        started = time.monotonic()
        self.use(connection)
        return time.monotonic() - started


def n_dropped(pid):
    """The number of netlink messages that were dropped because a socket of that process was full."""
    links = {os.readlink(path) for path in glob.glob(f"/proc/{pid}/fd/*")}
    with open("/proc/net/netlink", encoding="ascii") as file:
        columns, *rows = (line.split() for line in file)
    return sum(int(row[columns.index("Drops")]) for row in rows if f"socket:[{row[columns.index('Inode')]}]" in links)


class Overflow(RegionTest):
    """More events come than the socket has room for. Without CAP_NET_ADMIN, rmem_max bounds that room."""

    ROOM = "/proc/sys/net/core/rmem_max"

    @contextlib.contextmanager
    def lost_events(self):
        """The daemon is stopped within this context, and some of its events are dropped."""
        pid = daemon_pid()
        before = n_dropped(pid)
        os.kill(pid, signal.SIGSTOP)
        try:
            send_events(50)
            yield
            vmtest.run("udevadm", "settle", "--timeout=300")
            self.assertGreater(n_dropped(pid), before)
        finally:
            os.kill(pid, signal.SIGCONT)

    def test_the_daemon_looks_for_what_it_was_not_told(self):
        with open(self.ROOM, encoding="ascii") as file:
            room = file.read()
        with open(self.ROOM, "w", encoding="ascii") as file:
            file.write("4096")
        self.addCleanup(vmtest.run, "sysctl", "net.core.rmem_max=" + room.strip())
        self.enterContext(service_with("CapabilityBoundingSet=~CAP_NET_ADMIN"))
        add_area("npu", 8 * MIB)
        connection = self.subscribe()

        with self.lost_events():
            vmtest.run("insmod", f"{TEST_MODULES}/fake_regions.ko", "names=reserved,camera,npu")
        self.assertEqual(self.wait_told(connection, "npu", region="npu", state="ready")["size"], 8 * MIB)
        with self.lost_events():
            vmtest.run("rmmod", "fake_regions")
            vmtest.run("rm", "-r", f"{AREAS}/npu")
        self.wait_told(connection, "npu", region=None)


class Target(RegionTest):
    def test_the_udev_rule_ignores_the_kernels_own_regions(self):
        """The rule for kernels without the bus acts on the event of the core's module."""
        for present, expected in (({"hugetlb0", "crashkernel"}, False), ({"hugetlb0", "npu"}, True), (set(), False)):
            with self.subTest(present=present):
                for name in os.listdir(AREAS):
                    os.rename(f"{AREAS}/{name}", f"/run/area-{name}")
                for name in present:
                    add_area(name, MIB)
                vmtest.run("udevadm", "trigger", "--action=add", "--settle", "/sys/module/dma_heap")
                properties = vmtest.run("udevadm", "info", "--query=property", "/sys/module/dma_heap").splitlines()
                self.assertEqual("SYSTEMD_WANTS=cma-region.target" in properties, expected, properties)
            vmtest.run("rm", "-rf", *glob.glob(f"{AREAS}/*"), *glob.glob("/run/area-*"))


if __name__ == "__main__":
    vmtest.main()
