#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" build=hooks
"""The accounting stays right with a ledger that is damaged or cannot be written, and with a census that lacks a
method."""

import contextlib
import ctypes
import fcntl
import os
import random
import resource
import select
import shutil
import signal
import struct
import uuid

import vmtest
from accountingtest import CMA, PAGE, AccountingTest, daemon_buffers, kernel_buffers
from daemontest import DEADLINE, children, daemon_pid, spawner_pid

LEDGER = "/run/dmaheapd-ledger/ledger"
DROP_IN = "/run/systemd/system/dmaheapd.service.d/test.conf"
SCOPE = "/test-owner.scope"
NOBODY = 0xffffffff
SYSTEM_LIMIT = 64 * PAGE


@contextlib.contextmanager
def service_with(*lines):
    """Within this context the daemon's unit has these settings."""
    os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
    with open(DROP_IN, "w", encoding="ascii") as file:
        file.write("[Service]\n" + "\n".join(lines) + "\n")
    vmtest.systemctl("daemon-reload")
    vmtest.systemctl("stop", vmtest.SERVICE)
    try:
        yield
    finally:
        os.unlink(DROP_IN)
        vmtest.systemctl("daemon-reload")
        vmtest.systemctl("stop", vmtest.SERVICE)


class Ledger(AccountingTest):
    """Each test but the first damages the ledger of a daemon that is not running; the next daemon sets it aside and
    serves."""

    CONFIG = f"[Limits]\nSystemBytesMax={SYSTEM_LIMIT}\n"

    def setUp(self):
        super().setUp()
        self.fds = self.allocate(self.client(self.cgroup(SCOPE)), 2 * PAGE, count=4)
        self.fds += self.allocate(self.client(SCOPE, user="user2"), PAGE, heap=CMA, label="mine")
        self.buffers = {os.fstat(fd).st_ino: vmtest.fdinfo(fd)["size"] for fd in self.fds}
        self.buffers = {inode: int(size) for inode, size in self.buffers.items()}
        self.before = vmtest.call("ListBuffers")["buffers"]
        vmtest.systemctl("stop", vmtest.SERVICE)
        self.n_lines = len(vmtest.journal().splitlines())

    def log(self):
        return "\n".join(vmtest.journal().splitlines()[self.n_lines:])

    def test_a_restarted_daemon_lists_the_same_buffers(self):
        """Every field is the same."""
        self.assertEqual(vmtest.call("ListBuffers")["buffers"], self.before)
        self.assertNotIn("ledger", self.log())

    def assert_lost(self, reason):
        """The daemon does not know the owners of the buffers, says so once, charges them to the machine, and serves
        clients."""
        listed = vmtest.call("ListBuffers")["buffers"]
        self.assertEqual({buffer["id"]: buffer["size"] for buffer in listed}, self.buffers)
        self.assertEqual({(buffer["cgroup"], buffer.get("unit"), buffer["uid"], buffer["user"]) for buffer in listed},
                         {("unattributed", None, NOBODY, NOBODY)})
        for line in (reason, "owner is not known"):
            with self.subTest(line=line):
                vmtest.wait_until(lambda text=line: text in self.log(), DEADLINE, f"the journal says '{line}'")
                self.assertEqual(self.log().count(line), 1, self.log())
        connection = self.client(SCOPE)
        self.assertEqual(self.usage(connection), (0, 0))
        used = sum(self.buffers.values())
        self.assert_refused(connection, "system", SYSTEM_LIMIT, used, SYSTEM_LIMIT - used + PAGE)
        self.allocate(connection, SYSTEM_LIMIT - used)
        self.assertEqual(daemon_buffers(), kernel_buffers())
        vmtest.close_fds(self.fds)
        self.assertEqual(set(daemon_buffers().values()), {SYSTEM_LIMIT - used})

    def damage(self, offset, data=None):
        with open(LEDGER, "r+b") as file:
            if data is None:
                file.truncate(offset)
            else:
                file.seek(offset)
                file.write(data)

    def test_an_empty_file(self):
        self.damage(0)
        self.assert_lost("ledger is now ledger.bad: it is truncated")

    def test_a_file_cut_off_in_a_record(self):
        self.damage(4096 + 300)
        self.assert_lost("ledger is now ledger.bad: it is truncated")

    def test_a_file_of_noise(self):
        self.damage(0, random.Random(1).randbytes(os.stat(LEDGER).st_size))
        self.assert_lost("ledger is now ledger.bad: it is no ledger")

    def test_a_header_with_noise(self):
        self.damage(8, b"\xff\xff\xff\xff")
        self.assert_lost("ledger is now ledger.bad: the checksum of its header is wrong")

    def test_a_file_of_another_version(self):
        with open(LEDGER, "rb") as file:
            magic, version, rest = struct.unpack("=8sI20s", file.read(32))
        header = struct.pack("=8sI20s", magic, version + 1, rest)
        self.damage(0, header + struct.pack("=Q", checksum(header)))
        self.assert_lost("ledger is now ledger.bad: it is of another version")

    def test_a_directory_in_its_place(self):
        """There is another one in the place of ledger.bad, and neither is empty."""
        os.unlink(LEDGER)
        for path in (LEDGER, LEDGER + ".bad"):
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            os.makedirs(path + "/full")
        self.addCleanup(shutil.rmtree, LEDGER + ".bad")
        self.addCleanup(shutil.rmtree, LEDGER + ".bad.1")
        self.assert_lost("ledger is now ledger.bad.1: Is a directory")

    def test_a_file_that_can_neither_be_read_nor_moved(self):
        """Each read(2) of it is EIO, and as a mount point it cannot be renamed."""
        vmtest.run("mount", "--bind", "/proc/1/mem", LEDGER)
        try:
            self.assert_lost("ledger can neither be used (Input/output error) nor set aside (Device or resource busy)")
        finally:
            vmtest.systemctl("stop", vmtest.SERVICE)
            vmtest.run("umount", LEDGER)

    def test_no_file(self):
        os.unlink(LEDGER)
        self.assert_lost("owner is not known")

    def test_no_file_while_everybody_can_open_a_heap(self):
        """A buffer of that heap may be somebody else's, so it is not adopted."""
        os.unlink(LEDGER)
        os.chmod("/dev/dma_heap/system", 0o666)
        self.addCleanup(os.chmod, "/dev/dma_heap/system", 0o600)
        self.assertEqual(daemon_buffers(), {os.fstat(self.fds[-1]).st_ino: PAGE})  # of the CMA heap

    def test_a_file_of_another_boot(self):
        with open("/run/boot-id", "w", encoding="ascii") as file:
            file.write(f"{uuid.uuid4()}\n")
        with service_with("BindReadOnlyPaths=/run/boot-id:/proc/sys/kernel/random/boot_id"):
            self.assert_lost("ledger is now ledger.bad: it is of another boot")

    def test_a_file_system_without_room_for_a_ledger(self):
        os.unlink(LEDGER)
        vmtest.run("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", os.path.dirname(LEDGER))
        try:
            self.assert_lost("Cannot open the ledger, keeping it in memory: No space left on device")
        finally:
            vmtest.systemctl("stop", vmtest.SERVICE)
            vmtest.run("umount", os.path.dirname(LEDGER))


class Room(AccountingTest):
    """Buffers for which the ledger has no room are refused and leave nothing behind; a freed buffer makes room at
    once."""

    CONFIG = "[Limits]\nClientBytesMax=infinity\nUserBytesMax=infinity\nClientBuffersMax=infinity\n"

    def fill(self, n_slots, batch, cgroup=None):
        """Allocates 'n_slots' buffers, at most 'batch' a call. The test closes their file descriptors."""
        connection = self.client(cgroup)
        fds = []
        while len(fds) < n_slots:
            reply = connection.call("Allocate", {"size": PAGE, "count": min(batch, n_slots - len(fds))})
            self.assertIsNone(reply.error, reply)
            fds += reply.fds
        return connection, fds

    def assert_full(self, connection, fds):
        n = len(fds)
        for count in (2, 1):
            with self.subTest(count=count):
                reply = connection.call("Allocate", {"size": PAGE, "count": count})
                self.assert_error(reply, "OutOfResources", resource="ledger")
        self.assertEqual(self.usage(connection), (n * PAGE, n))
        self.assertEqual(set(daemon_buffers()), set(kernel_buffers()))
        os.close(fds.pop())
        self.assertEqual(self.usage(connection), ((n - 1) * PAGE, n - 1))
        vmtest.close_fds(self.allocate(connection, PAGE))
        vmtest.close_fds(fds)
        self.assertEqual(self.usage(connection), (0, 0))

    def test_a_full_file_system_refuses_buffers_until_some_are_freed(self):
        """It becomes full when the ledger has to grow."""
        daemon_pid()
        vmtest.systemctl("stop", vmtest.SERVICE)
        vmtest.run("mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", os.path.dirname(LEDGER))
        try:
            self.assert_full(*self.fill(256, 64))
            self.assertIn("Cannot record buffers in the ledger: No space left on device", vmtest.journal())
        finally:
            vmtest.systemctl("stop", vmtest.SERVICE)
            vmtest.run("umount", os.path.dirname(LEDGER))

    def test_a_list_longer_than_a_message_is_an_error_and_the_connection_stays(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (70000, 70000))
        _, fds = self.fill(20000, 250, self.cgroup("/" + "\x01" * 200))
        with vmtest.Varlink() as connection:
            self.assert_error(connection.call("ListBuffers"), "OutOfResources", resource="inFlight")
            self.assertEqual(connection.call("ListBuffers", {"uid": 0})["buffers"], [])
            vmtest.close_fds(fds)
            self.assertEqual(connection.call("ListBuffers")["buffers"], [])


def checksum(data):
    """FNV-1a by words, as in ledger-file.c."""
    value = 0xcbf29ce484222325
    for (word,) in struct.iter_unpack("=Q", data):
        value = (value ^ word) * 0x100000001b3 & (1 << 64) - 1
        value ^= value >> 29
    return value


class Census(AccountingTest):
    def set_name(self, fd, name):
        name = ctypes.create_string_buffer(name)
        fcntl.ioctl(fd, 0x40086201, struct.pack("Q", ctypes.addressof(name)))  # DMA_BUF_SET_NAME

    def assert_shown(self, text):
        """dmaheapctl says how buffers are counted."""
        self.assertIn(f"Daemon:  dmaheapd ({text}", vmtest.run("dmaheapctl", "info"))

    def test_bpf_is_the_method_where_it_works(self):
        self.assert_shown("buffers counted by bpf)")

    def test_debugfs_counts_the_same_whatever_the_buffers_are_called(self):
        """The names that clients give to buffers look like lines of debugfs' list."""
        with service_with("Environment=DMAHEAPD_TEST_NO_BPF=1"):
            connection = self.client(self.cgroup(SCOPE))
            fds = self.allocate(connection, PAGE, count=3)
            self.assertIn("Counting buffers by way of debugfs", vmtest.journal(lines=5))
            self.assert_shown("buffers counted by debugfs)")
            forged = max(kernel_buffers()) + 1
            names = b"\n00004096\t00000000\t00080007\t0", b"\n%08d\tx" % forged, b"\n\n\nTotal 0 objects, 0 bytes\n"
            for fd, name in zip(fds, names):
                self.set_name(fd, name)
            self.assertEqual(daemon_buffers(), kernel_buffers())
            self.assertEqual(self.usage(connection), (3 * PAGE, 3))
            os.close(fds.pop(0))
            self.assertEqual(self.usage(connection), (2 * PAGE, 2))
            self.assertEqual(daemon_buffers(), kernel_buffers())
            vmtest.close_fds(fds)
            self.assertEqual(self.usage(connection), (0, 0))

    def test_a_census_that_was_killed_is_taken_again(self):
        """The call that waits for the census is answered by the next one, without the buffers that were freed."""
        connection = self.client(self.cgroup(SCOPE))
        self.use(connection)
        pid, spawner = daemon_pid(), spawner_pid()

        def killed_in_time():
            (fd,) = self.allocate(connection, PAGE)
            os.close(fd)
            connection.send("GetUsage")
            census = set()
            while not census and not select.select([connection.socket], [], [], 0)[0]:
                census = set(children(pid)) - {spawner}
            for each in census:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, signal.SIGKILL)
            self.assertEqual(connection.receive()["client"]["buffersUsed"], 0)
            return "failed, and is taken again" in vmtest.journal(lines=10)

        vmtest.wait_until(killed_in_time, DEADLINE, "a census was killed")

    def test_without_a_census_no_buffer_is_given_and_the_reason_is_told(self):
        """A buffer that cannot be counted could not be charged. The daemon runs on."""
        with service_with("Environment=DMAHEAPD_TEST_NO_BPF=1", "InaccessiblePaths=/sys/kernel/debug"):
            reply = vmtest.allocate(size=PAGE)
            self.assert_error(reply, "HeapUnavailable", heap="system")
            self.assertNotEqual(reply["reason"], "")
            self.assertIsNone(vmtest.call("ListHeaps").error)
            self.assertIn("cannot be counted", vmtest.journal(lines=8))
            self.assert_shown("buffers cannot be counted: BPF: switched off for a test; "
                              "/sys/kernel/debug/dma_buf/bufinfo: ")


if __name__ == "__main__":
    vmtest.main()
