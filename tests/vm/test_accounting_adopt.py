#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M dma_heap.mem_accounting=0" timeout=900
# testbed: kernel=stock append="cma=64M dma_heap.mem_accounting=1" timeout=900
"""Charges of buffers that outlive the daemon or its configuration: after a restart and after a reload each account
holds the same bytes. A request that just fits is granted then, and one page more is refused with the bytes in use."""

import contextlib
import os
import signal

import vmtest
from accountingtest import CGROUPS, CMA, MIB, PAGE, AccountingTest, remove_cgroup
from daemontest import CONFIG, DEADLINE, configured, daemon_pid

A = "/test-a.scope"
B = "/test-b.scope"
UNIT = "test-camera.service"
LIMIT = 16 * PAGE
WORKER_ALLOWANCE = MIB  # MEMORY_CGROUP_WORKER_SIZE
INFINITE = "[Limits]\nClientBytesMax=infinity\nUserBytesMax=infinity\nSystemBytesMax=infinity\n"


def kernel_accounts():
    return vmtest.read_file("/sys/module/dma_heap/parameters/mem_accounting").strip() == "Y"


def kill_daemon():
    pid = daemon_pid()
    os.kill(pid, signal.SIGKILL)
    vmtest.wait_until(lambda: vmtest.unit_pid() not in (0, pid), DEADLINE, "there is a daemon again")


def restart_daemon():
    daemon_pid()
    vmtest.systemctl("restart", vmtest.SERVICE)


def reload_daemon():
    daemon_pid()
    vmtest.systemctl("reload", vmtest.SERVICE)


WAYS = {"killed": kill_daemon, "restarted": restart_daemon, "reloaded": reload_daemon}


class AdoptTest(AccountingTest):
    @contextlib.contextmanager
    def after(self, way, **more):
        """The daemon has been killed, restarted or reloaded."""
        with self.subTest(way=way, **more):
            WAYS[way]()
            self.n_restarts = vmtest.unit_property(vmtest.SERVICE, "NRestarts")
            yield

    def write_config(self, text):
        """Writes another configuration. The daemon reads it when it is restarted or reloaded next."""
        self.addCleanup(reload_daemon)
        self.addCleanup(self.write_config_now, configured())
        self.write_config_now(text)

    @staticmethod
    def write_config_now(text):
        vmtest.write_file(CONFIG, text)

    def assert_boundary(self, connection, scope, limit, used, heap="system", name=None):
        """The rest of the limit is granted, and a page more is refused. The buffers are freed again."""
        rest = limit - used
        self.assert_refused(connection, scope, limit, used, rest + PAGE, heap=heap, name=name)
        fds = self.allocate(connection, rest, heap=heap)
        self.assert_refused(connection, scope, limit, limit, PAGE, heap=heap, name=name)
        vmtest.close_fds(fds)


class OfClient(AdoptTest):
    CONFIG = f"[Limits]\nClientBytesMax={LIMIT}\n"

    def test_bytes(self):
        cgroup, other = self.cgroup(A), self.cgroup(B)
        connection = self.client(cgroup)
        fds = self.allocate(connection, 3 * PAGE, count=2) + self.allocate(connection, 4 * PAGE, heap=CMA)
        for way in WAYS:
            with self.after(way):
                self.assert_boundary(self.client(cgroup), "client", LIMIT, 10 * PAGE, name="test-a.scope")
                # Another client, of the same user, holds nothing.
                vmtest.close_fds(self.allocate(self.client(other), LIMIT))
        vmtest.close_fds(fds)
        self.assertEqual(self.usage(self.client(cgroup)), (0, 0))

    def test_without_a_unit(self):
        """A control group is known by its id."""
        cgroup = self.cgroup("/test-plain")
        self.allocate(self.client(cgroup), 10 * PAGE)
        for way in WAYS:
            with self.after(way):
                self.assert_boundary(self.client(cgroup), "client", LIMIT, 10 * PAGE, name=cgroup)

    def test_below_what_is_used(self):
        """A limit that is lowered below the bytes in use takes nothing away, and grants nothing more."""
        connection = self.client(self.cgroup(A))
        fds = self.allocate(connection, 5 * PAGE, count=2)
        self.write_config(f"[Limits]\nClientBytesMax={6 * PAGE}\n")
        for way in WAYS:
            with self.after(way):
                self.assert_refused(self.client(A), "client", 6 * PAGE, 10 * PAGE, PAGE, name="test-a.scope")
        os.close(fds[0])
        self.assert_boundary(self.client(A), "client", 6 * PAGE, 5 * PAGE, name="test-a.scope")


class OfBuffers(AdoptTest):
    CONFIG = "[Limits]\nClientBuffersMax=5\n"

    def test_number(self):
        cgroup = self.cgroup(A)
        self.allocate(self.client(cgroup), PAGE, count=3)
        for way in WAYS:
            with self.after(way):
                connection = self.client(cgroup)
                self.assert_refused(connection, "client", 5, 3, PAGE, 3, resource="buffers", name="test-a.scope")
                fds = self.allocate(connection, PAGE, count=2)
                self.assert_refused(connection, "client", 5, 5, PAGE, resource="buffers", name="test-a.scope")
                vmtest.close_fds(fds)


class OfUser(AdoptTest):
    CONFIG = f"[Limits]\nUserBytesMax={LIMIT}\n"

    def test_bytes(self):
        """Two clients of one user charge one account."""
        cgroups = self.cgroup(A), self.cgroup(B)
        self.allocate(self.client(cgroups[0]), 3 * PAGE, count=2)
        self.allocate(self.client(cgroups[1]), 4 * PAGE, heap=CMA)
        for way in WAYS:
            with self.after(way):
                for cgroup in cgroups:
                    self.assert_boundary(self.client(cgroup), "user", LIMIT, 10 * PAGE, name="1000")
                vmtest.close_fds(self.allocate(self.client(A, user="user2"), LIMIT))


class OfSystem(AdoptTest):
    CONFIG = f"[Limits]\nSystemBytesMax={LIMIT}\n"

    def test_bytes(self):
        self.allocate(self.client(self.cgroup(A)), 10 * PAGE)
        for way in WAYS:
            with self.after(way):
                self.assert_boundary(self.client(A, user="user2"), "system", LIMIT, 10 * PAGE)


class OfHeap(AdoptTest):
    CONFIG = f"[Heap system]\nClientBytesMax={LIMIT}\n[Heap {CMA}]\nClientBytesMax=16M\n"

    def test_share(self):
        """The heaps of one region share one account."""
        cgroup, other = self.cgroup(A), self.cgroup(B)
        connection = self.client(cgroup)
        self.allocate(connection, 10 * PAGE)
        self.allocate(connection, 5 * MIB, heap=CMA)
        self.allocate(connection, 5 * MIB, heap="reserved")
        for way in WAYS:
            with self.after(way):
                connection = self.client(cgroup)
                self.assert_boundary(connection, "heap", LIMIT, 10 * PAGE, name="system")
                for heap in (CMA, "reserved"):
                    self.assert_boundary(connection, "heap", 16 * MIB, 10 * MIB, heap=heap, name=heap)
                heaps = {heap["name"]: heap["used"] for heap in connection.call("ListHeaps")["heaps"]}
                self.assertEqual((heaps["system"], heaps[CMA], heaps["reserved"]), (10 * PAGE, 5 * MIB, 5 * MIB))
                vmtest.close_fds(self.allocate(self.client(other), LIMIT))


class OfRegion(AdoptTest):
    CONFIG = f"{INFINITE}[Heap {CMA}]\nClientBytesMax=100%\nReserveBytes=16M\nReserveFor={UNIT}\n"

    def setUp(self):
        super().setUp()
        self.camera = self.unit(UNIT)
        self.cgroup(A)
        self.cgroup(B)

    def test_others(self):
        """Clients without a part in the reserve charge the account of the others; the reserve's owner does not."""
        self.allocate(self.client(self.camera), 6 * MIB, heap=CMA)
        self.allocate(self.client(A), 20 * MIB, heap=CMA)
        for way in WAYS:
            with self.after(way):
                self.assert_boundary(self.client(B), "heap", 48 * MIB, 20 * MIB, heap=CMA, name=CMA)

    def test_total(self):
        """All clients charge the region's total. The kernel may lack pages for the very last bytes of the region."""
        self.allocate(self.client(self.camera), 30 * MIB, heap=CMA)
        self.allocate(self.client(A), 10 * MIB, heap="reserved")
        for way in WAYS:
            with self.after(way):
                connection = self.client(self.camera)
                self.assert_refused(connection, "heap", 64 * MIB, 40 * MIB, 24 * MIB + PAGE, heap=CMA, name=CMA)
                reply = self.close_later(connection.call("Allocate", {"heap": CMA, "size": 24 * MIB}))
                self.assertIn(reply.error, (None, "OutOfMemory"))
                vmtest.close_fds(reply.fds)
                reply.fds.clear()
                vmtest.close_fds(self.allocate(connection, 8 * MIB, heap=CMA))

    def test_reserve_that_becomes_anothers(self):
        """The buffers of the old owner then count among the others', and those of the new owner no longer do."""
        display = self.unit("test-display.service")
        self.allocate(self.client(self.camera), 10 * MIB, heap=CMA)
        self.allocate(self.client(display), 12 * MIB, heap=CMA)
        held = {UNIT: 12 * MIB, "test-display.service": 10 * MIB}
        self.write_config(self.CONFIG)
        for way in WAYS:
            for owner, others in ((*held.items(), *held.items()) if way == "reloaded" else held.items()):
                self.write_config_now(self.CONFIG.replace(UNIT, owner))
                with self.after(way, owner=owner):
                    self.assert_boundary(self.client(A), "heap", 48 * MIB, others, heap=CMA, name=CMA)

    def test_reserve_that_goes_and_comes(self):
        self.allocate(self.client(self.camera), 10 * MIB, heap=CMA)
        self.allocate(self.client(A), 12 * MIB, heap=CMA)
        self.write_config(self.CONFIG)
        for _ in range(2):
            self.write_config_now(f"{INFINITE}[Heap {CMA}]\nClientBytesMax=100%\n")
            reload_daemon()
            self.assert_refused(self.client(B), "heap", 64 * MIB, 22 * MIB, 42 * MIB + PAGE, heap=CMA, name=CMA)
            self.write_config_now(self.CONFIG)
            reload_daemon()
            self.assert_boundary(self.client(B), "heap", 48 * MIB, 12 * MIB, heap=CMA, name=CMA)


class OfControlGroup(AdoptTest):
    """Bytes that the kernel does not charge count against memory.max of the client's control group and those above."""

    CONFIG = f"{INFINITE}KeepAvailable=0\n[Heap {CMA}]\nClientBytesMax=100%\n"
    LIMIT = 64 * MIB
    OUTER = "/test-outer"
    INNER = "/test-outer/test-inner.scope"
    OTHER = "/test-outer/test-other.scope"

    def setUp(self):
        super().setUp()
        self.cgroup(self.OUTER)
        vmtest.write_file(f"{CGROUPS}{self.OUTER}/cgroup.subtree_control", "+memory")
        self.cgroup(self.INNER)
        self.cgroup(self.OTHER)

    def kernel_used(self, bounded):
        """The bytes that the kernel counts there, without those that it can reclaim."""
        stat = vmtest.keyed(f"{CGROUPS}{bounded}/memory.stat")
        current = int(vmtest.read_file(f"{CGROUPS}{bounded}/memory.current"))
        return current - min(current, stat["inactive_file"] + stat["active_file"] + stat["slab_reclaimable"])

    def headroom(self, bounded, connection):
        """The client's cgroupHeadroom, and the kernel's count, which was the same before and after the call."""
        def measured():
            before = self.kernel_used(bounded)
            headroom = connection.call("GetUsage")["cgroupHeadroom"]
            return (headroom, before) if self.kernel_used(bounded) == before else None

        return vmtest.wait_until(measured, DEADLINE, "the kernel counts the same before and after")

    def assert_charged(self, bounded, client, by_us):
        """The daemon counts exactly 'by_us' bytes against the limit of 'bounded', beside those of the kernel."""
        connection = self.client(client)
        headroom, used = self.headroom(bounded, connection)
        self.assertEqual(headroom, self.LIMIT - used - by_us - WORKER_ALLOWANCE)
        # A worker that comes for the request costs less than its allowance.
        size = headroom // PAGE * PAGE + PAGE
        reply = connection.call("Allocate", {"size": size + WORKER_ALLOWANCE})
        self.assert_error(reply, "QuotaExceeded", scope="cgroup", name=bounded, limit=self.LIMIT)
        self.assertLess(abs(reply["used"] - (self.LIMIT - headroom)), WORKER_ALLOWANCE)
        vmtest.close_fds(self.allocate(connection, size - WORKER_ALLOWANCE))

    def bound(self, cgroup):
        vmtest.write_file(f"{CGROUPS}{cgroup}/memory.max", self.LIMIT)
        self.addCleanup(self.unbound, cgroup)

    @staticmethod
    def unbound(cgroup):
        if os.path.exists(CGROUPS + cgroup):
            vmtest.write_file(f"{CGROUPS}{cgroup}/memory.max", "max")

    def hold(self, cgroup):
        """Buffers of three heaps; how many of their bytes are ours to count."""
        connection = self.client(cgroup)
        for heap, size in (("system", 5 * MIB), (CMA, 7 * MIB), ("udmabuf", 3 * MIB)):
            self.allocate(connection, size, heap=heap)
        return 7 * MIB + (0 if kernel_accounts() else 5 * MIB)

    def test_of_the_client(self):
        self.bound(self.INNER)
        held = self.hold(self.INNER)
        for way in WAYS:
            with self.after(way):
                self.assert_charged(self.INNER, self.INNER, held)

    def test_above_the_client(self):
        self.bound(self.OUTER)
        held = self.hold(self.INNER)
        for way in WAYS:
            with self.after(way):
                for client in (self.INNER, self.OTHER):
                    self.assert_charged(self.OUTER, client, held)

    def test_of_a_client_that_has_gone(self):
        """Its bytes count at the nearest ancestor that is left."""
        self.bound(self.OUTER)
        held = self.hold(self.INNER)
        vmtest.write_file(f"{CGROUPS}{self.INNER}/cgroup.kill", 1)
        vmtest.wait_until(lambda: remove_cgroup(self.INNER), DEADLINE, "the control group is removed")
        for way in WAYS:
            with self.after(way):
                self.assert_charged(self.OUTER, self.OTHER, held)

    def test_freed(self):
        """The charge of a buffer that was freed while the daemon was down ends at the start."""
        self.bound(self.OUTER)
        connection = self.client(self.INNER)
        for way in WAYS:
            with self.after(way):
                inner = self.client(self.INNER)
                fds = [fd for heap in ("system", CMA, "udmabuf") for fd in self.allocate(inner, MIB, heap=heap)]
                kill_daemon()
                self.n_restarts = vmtest.unit_property(vmtest.SERVICE, "NRestarts")
                vmtest.close_fds(fds)
                self.assert_charged(self.OUTER, self.OTHER, 0)
        connection.close()


if __name__ == "__main__":
    vmtest.main()
