#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M"
"""Administrators list clients and buffers, permit heaps, reserve memory, and reload the configuration."""

import os
import re
import shutil
import time

import vmtest
from accountingtest import CMA, MIB, PAGE, PERMISSION_DENIED, AccountingTest
from daemontest import CONFIG, DEADLINE, daemon_pid, unit_cgroup

UNIT = "test-camera.service"
SCOPE = "/test-other.scope"
SETUID_PROGRAM = "/usr/bin/setuid-sleep-admin"


def write(text, path=CONFIG):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def reload(text):
    daemon_pid()
    write(text)
    vmtest.systemctl("reload", vmtest.SERVICE)


def effective_uid(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return int(re.search(r"^Uid:\s+\d+\s+(\d+)", file.read(), re.MULTILINE)[1])


class Lists(AccountingTest):
    def setUp(self):
        super().setUp()
        self.camera = self.client(self.unit(UNIT))
        self.other = self.client(self.cgroup(SCOPE), user="user2")

    def test_list_clients_shows_who_holds_what(self):
        self.allocate(self.camera, 3 * PAGE, count=2)
        self.allocate(self.camera, PAGE, heap=CMA)
        self.allocate(self.other, PAGE)
        clients = {client.get("unit"): client for client in vmtest.call("ListClients")["clients"]}
        camera, other = clients[UNIT], clients["test-other.scope"]
        self.assertEqual((camera["cgroup"], camera["uid"], camera["user"], camera["connections"]),
                         (unit_cgroup(UNIT), 1000, 1000, 1))
        self.assertEqual((camera["usage"]["bytesUsed"], camera["usage"]["buffersUsed"]), (7 * PAGE, 3))
        self.assertEqual({heap["heap"]: heap["bytesUsed"] for heap in camera["heaps"]}, {"system": 6 * PAGE, CMA: PAGE})
        self.assertEqual((other["cgroup"], other["uid"], other["usage"]["bytesUsed"]), (SCOPE, 1001, PAGE))
        # GetUsage tells the client the same numbers.
        self.assertEqual(self.camera.call("GetUsage")["client"], camera["usage"])

    def test_cgroup_names_that_are_no_text_are_listed_as_utf_8(self):
        """The name of a control group may have any bytes. Bytes that are not UTF-8 are listed as \\xNN."""
        path = os.fsdecode(b"/test-\xff\xc3\xa4\xe2\x82")
        self.allocate(self.client(self.cgroup(path)), PAGE)
        told = "/test-\\xff\u00e4\\xe2\\x82"
        self.assertIn(told, [client["cgroup"] for client in vmtest.call("ListClients")["clients"]])
        self.assertIn(told, [buffer["cgroup"] for buffer in vmtest.call("ListBuffers")["buffers"]])

    def test_list_buffers_shows_each_buffer_and_can_be_filtered(self):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        fds = self.allocate(self.camera, 3 * PAGE, count=2, label="frame 1")
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        (fd,) = self.allocate(self.other, PAGE, heap=CMA)
        buffers = vmtest.call("ListBuffers", unit=UNIT)["buffers"]
        self.assertEqual([buffer["id"] for buffer in buffers], [os.fstat(fd).st_ino for fd in fds])
        for buffer in buffers:
            self.assertTrue(before <= buffer.pop("allocatedUSec") <= after)
            del buffer["id"]
            self.assertEqual(buffer, {"size": 3 * PAGE, "heap": "system", "label": "frame 1", "unit": UNIT,
                                      "cgroup": unit_cgroup(UNIT), "uid": 1000, "user": 1000})
        (other,) = vmtest.call("ListBuffers", uid=1001)["buffers"]
        self.assertEqual((other["id"], other["heap"], other["unit"], other["uid"]),
                         (os.fstat(fd).st_ino, CMA, "test-other.scope", 1001))
        self.assertIsNone(other.get("label"))
        self.assertEqual(vmtest.call("ListBuffers", unit=UNIT, uid=1001)["buffers"], [])
        vmtest.close_fds([*fds, fd])
        self.assertEqual(vmtest.call("ListBuffers")["buffers"], [])

    def test_only_root_may_list(self):
        for method in ("ListClients", "ListBuffers"):
            with self.subTest(method=method):
                for connection in (self.camera, self.other):
                    self.assert_error(connection.call(method), PERMISSION_DENIED)
                self.assertIsNone(vmtest.call(method).error)
                self.assertIsNone(self.client(SCOPE, user="root").call(method).error)

    def test_a_client_that_becomes_root_after_connecting_may_not_list(self):
        shutil.copy("/usr/bin/sleep", SETUID_PROGRAM)
        os.chmod(SETUID_PROGRAM, 0o4755)
        peer, connection = self.connected_peer(then=[SETUID_PROGRAM, "infinity"])
        vmtest.wait_until(lambda: effective_uid(peer.child.pid) == 0, DEADLINE, "the peer has become root")
        for method in ("ListClients", "ListBuffers"):
            with self.subTest(method=method):
                self.assert_error(connection.call(method), PERMISSION_DENIED)


class Permissions(AccountingTest):
    def assert_only(self, allowed, denied):
        for connection in allowed:
            vmtest.close_fds(self.allocate(connection, PAGE, heap="system"))
        for connection in denied:
            self.assert_error(connection.call("Allocate", {"size": PAGE, "heap": "system"}), PERMISSION_DENIED)
            self.allocate(connection, PAGE, heap=CMA)

    def test_a_heap_serves_only_those_whom_its_section_allows(self):
        camera, one = self.client(self.unit(UNIT)), self.client(self.cgroup(SCOPE))
        two = self.client(SCOPE, user="user2")
        self.assert_only([camera, one, two], [])
        for rule, allowed, denied in (("AllowUsers=user2", [two], [one, camera]),
                                      ("AllowUsers=1000 user2", [two, one, camera], []),
                                      ("AllowGroups=user1", [one, camera], [two]),
                                      (f"AllowUnits={UNIT}", [camera], [one, two]),
                                      (f"AllowUnits={UNIT}\nAllowUsers=user2", [camera, two], [one]),
                                      ("", [camera, one, two], [])):
            with self.subTest(rule=rule):
                reload(f"[Heap system]\n{rule}\n")
                self.assert_only(allowed, denied)


class Reload(AccountingTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(reload, "")

    def test_new_limits_hold_for_clients_that_hold_buffers(self):
        connection = self.client(self.cgroup(SCOPE))
        (fd,) = self.allocate(connection, 16 * PAGE)
        pid = vmtest.unit_pid()
        reload(f"[Limits]\nClientBytesMax={8 * PAGE}\n")
        self.assert_refused(connection, "client", 8 * PAGE, 16 * PAGE, PAGE, name="test-other.scope")
        reload(f"[Limits]\nClientBytesMax={8 * PAGE}\n[Client test-other.scope]\nClientBytesMax={17 * PAGE}\n")
        self.allocate(connection, PAGE)
        self.assert_refused(connection, "client", 17 * PAGE, 17 * PAGE, PAGE, name="test-other.scope")
        os.close(fd)
        self.allocate(connection, 16 * PAGE)
        self.assertEqual(vmtest.unit_pid(), pid)

    def test_the_drop_in_that_sorts_last_wins(self):
        for path, size in (("/usr/lib/dmaheapd/dmaheapd.conf.d/10-a.conf", 2),
                           ("/run/dmaheapd/dmaheapd.conf.d/50-b.conf", 3),
                           ("/etc/dmaheapd/dmaheapd.conf.d/30-c.conf", 4)):
            self.addCleanup(os.unlink, path)
            write(f"[Limits]\nClientBytesMax={size * PAGE}\n", path)
        reload("[Limits]\nClientBytesMax=1M\n")
        self.assertEqual(self.client().call("GetUsage")["client"]["bytesMax"], 3 * PAGE)

    def test_without_enforcement_usage_is_still_counted(self):
        connection = self.client(self.unit(UNIT, MemoryMax="32M"))
        reload("[Limits]\nEnforce=no\nClientBytesMax=4K\n")
        self.allocate(connection, 2 * PAGE)
        self.assertEqual(self.usage(connection), (2 * PAGE, 1))
        reload("[Limits]\nClientBytesMax=4K\n")
        self.assert_refused(connection, "client", PAGE, 2 * PAGE, PAGE, name=UNIT)

    def test_a_bad_line_is_logged_with_its_place_and_the_default_holds(self):
        default = self.client().call("GetUsage")["client"]
        reload("[Limits]\nClientBytesMax=plenty\nClientBuffersMax=7\nClientBuffersMax=8\nFoo=1\n\n[Nothing]\nA=b\n")
        usage = self.client().call("GetUsage")["client"]
        self.assertEqual(usage["bytesMax"], default["bytesMax"])
        journal = vmtest.journal()
        for line in (2, 4, 5, 7):
            with self.subTest(line=line):
                self.assertIn(f"{CONFIG}:{line}:", journal)

    def test_check_config_finds_bad_lines(self):
        bad, good = "/run/bad.conf", "/run/good.conf"
        write("[Limits]\nClientBytesMax=25%\n", good)
        self.assertEqual(vmtest.run("/usr/libexec/dmaheapd", "--check-config", good, check=False).returncode, 0)
        for text in ("[Limits]\nClientBytesMax=101%x\n", "[Limits]\nFoo=1\n", "[Limit]\nA=1\n",
                     "[Limits]\nClientBytesMax=1M\nClientBytesMax=1M\n"):
            with self.subTest(text=text):
                write(text, bad)
                done = vmtest.run("/usr/libexec/dmaheapd", "--check-config", bad, check=False)
                self.assertEqual(done.returncode, 1)
                self.assertRegex(done.stdout + done.stderr, rf"{bad}:\d+: ")


class Reserve(AccountingTest):
    CONFIG = f"[Heap {CMA}]\nClientBytesMax=100%\nReserveBytes=16M\nReserveFor={UNIT}\n"

    def test_others_cannot_have_what_is_reserved_for_a_unit(self):
        camera = self.client(self.unit(UNIT))
        others = [self.client(self.cgroup(f"/test-{name}.scope")) for name in "ab"]
        for _ in range(2):
            fds = [fd for n in range(6) for fd in self.allocate(others[n % 2], 8 * MIB, heap=CMA)]
            for other in others:
                self.assert_refused(other, "heap", 48 * MIB, 48 * MIB, PAGE, heap="reserved", name="reserved")
            reserved = [fd for heap in (CMA, "reserved") for fd in self.allocate(camera, 7 * MIB, heap=heap)]
            for other in others:
                self.assert_refused(other, "heap", 48 * MIB, 48 * MIB, PAGE, heap=CMA, name=CMA)
            self.assertEqual(self.usage(camera), (14 * MIB, 2))
            vmtest.close_fds(reserved)
            vmtest.close_fds(fds)
        # The whole region is free now, so the unit may take more than its reserve, which leaves the others less.
        self.allocate(camera, 40 * MIB, heap=CMA)
        self.allocate(others[0], 16 * MIB, heap=CMA)
        self.assert_refused(others[1], "heap", 64 * MIB, 56 * MIB, 16 * MIB, heap=CMA, name=CMA)

    def test_a_reserve_can_pass_to_another_unit(self):
        """A unit that loses its reserve becomes one of the others: what it holds counts against their share at once."""
        camera, other = self.client(self.unit(UNIT)), self.client(self.cgroup(SCOPE))
        display = self.client(self.unit("test-display.service"))
        self.addCleanup(reload, self.CONFIG)
        self.allocate(camera, 40 * MIB, heap=CMA)
        reload(self.CONFIG.replace(UNIT, "test-display.service"))
        self.assert_refused(other, "heap", 48 * MIB, 40 * MIB, 9 * MIB, heap=CMA, name=CMA)
        self.allocate(other, 8 * MIB, heap=CMA)
        self.allocate(display, 7 * MIB, count=2, heap=CMA)
        reload(self.CONFIG)
        self.assert_refused(other, "heap", 64 * MIB, 62 * MIB, 3 * MIB, heap=CMA, name=CMA)


if __name__ == "__main__":
    vmtest.main()
