#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" timeout=600
"""The order of events that the accounting rests on. A census answers only calls that arrived before it began. A census
ends only records that are older than its beginning. A buffer's record is written before its descriptor leaves."""

import contextlib
import fcntl
import os
import re
import signal
import struct
import subprocess
import termios

import vmtest
from accountingtest import PAGE, AccountingTest, daemon_buffers, kernel_buffers
from daemontest import DEADLINE, children, daemon_pid

SCOPE = "/test-owner.scope"
LIMIT = 2 * PAGE
# Longer than a test needs meanwhile, and shorter than the 10 s after which a census is given up.
DELAY_USEC = 8_000_000
EXIT_GROUP = "231"


@contextlib.contextmanager
def disturbed(pid, system_call, how):
    """Does something (strace(1), --inject) to the process, and to what it forks meanwhile, at each such system call."""
    with subprocess.Popen(["strace", "--quiet=all", "--follow-forks", f"--attach={pid}", "--output=/run/strace",
                           f"--trace={system_call}", f"--inject={system_call}:{how}"]) as strace:
        try:
            vmtest.wait_until(lambda: tracer(pid) == strace.pid, DEADLINE, "strace has attached")
            yield
        finally:
            strace.terminate()


def tracer(pid):
    return int(re.search(r"^TracerPid:\s+(\d+)$", vmtest.read_file(f"/proc/{pid}/status"), re.MULTILINE)[1])


def unread(sock):
    """How many bytes the peer has not read yet of those that were sent."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]


class Census(AccountingTest):
    CONFIG = f"[Limits]\nClientBytesMax={LIMIT}\n"

    def setUp(self):
        super().setUp()
        self.pid = daemon_pid()
        self.first, self.second = self.client(self.cgroup(SCOPE)), self.client(SCOPE)

    @contextlib.contextmanager
    def census_at_its_end(self):
        """A census for a GetUsage of the first connection, which has counted the buffers and is held up at its exit."""
        with disturbed(self.pid, "exit_group", f"delay_enter={DELAY_USEC}"):
            self.first.send("GetUsage")
            vmtest.wait_until(self.census_is_at_its_end, DEADLINE, "a census has counted the buffers")
            yield
            self.assertTrue(self.census_is_at_its_end(), "it is over too soon for this test")

    def census_is_at_its_end(self):
        for child in children(self.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if (vmtest.read_file(f"/proc/{child}/comm") == "census\n" and
                        vmtest.read_file(f"/proc/{child}/syscall").split()[0] == EXIT_GROUP):
                    return True
        return False

    def ask(self, method, **parameters):
        """Sends a call over the second connection; the daemon has read it."""
        self.second.send(method, parameters)
        vmtest.wait_until(lambda: unread(self.second.socket) == 0, DEADLINE, "the daemon has read the call")
        # The event loop has dispatched the call before it answers one that arrives later.
        vmtest.call("org.varlink.service.GetInfo")

    def free(self, fd):
        inode = os.fstat(fd).st_ino
        os.close(fd)
        vmtest.wait_until(lambda: inode not in kernel_buffers(), DEADLINE, "the kernel has freed it")

    def test_begun_before_the_call_does_not_answer_it(self):
        (fd,) = self.allocate(self.first, LIMIT)
        with self.census_at_its_end():
            self.free(fd)
            self.ask("GetUsage")
        self.assertEqual(self.first.receive()["client"]["buffersUsed"], 1)
        self.assertEqual(self.second.receive()["client"]["buffersUsed"], 0)

    def test_begun_before_a_request_does_not_refuse_it(self):
        (fd,) = self.allocate(self.first, LIMIT)
        with self.census_at_its_end():
            self.free(fd)
            self.ask("Allocate", size=LIMIT)
        self.assertEqual(self.first.receive()["client"]["buffersUsed"], 1)
        self.assert_served(self.second.receive())

    def test_knows_nothing_of_later_buffers(self):
        with self.census_at_its_end():
            (fd,) = self.allocate(self.second, PAGE)
        self.assertEqual(self.first.receive()["client"]["buffersUsed"], 1)
        self.assertEqual(daemon_buffers(), {os.fstat(fd).st_ino: PAGE})
        self.assert_refused(self.second, "client", LIMIT, PAGE, LIMIT, name="test-owner.scope")

    def test_that_fails_ends_nothing(self):
        """Each census is killed before it ends. The call is answered all the same, and the buffer stays charged."""
        (fd,) = self.allocate(self.first, PAGE)
        with disturbed(self.pid, "exit_group", "signal=KILL"):
            self.assertEqual(self.usage(self.first), (PAGE, 1))
        self.assertIn("A census of the buffers failed, so ", vmtest.journal(lines=5))
        self.assertEqual(daemon_buffers(), {os.fstat(fd).st_ino: PAGE})
        self.assert_refused(self.second, "client", LIMIT, PAGE, LIMIT, name="test-owner.scope")


class Record(AccountingTest):
    def test_is_there_before_the_client_has_the_buffer(self):
        """The daemon is killed in the very call that sends the descriptors."""
        connection = self.client(self.cgroup(SCOPE))
        self.use(connection)
        pid = daemon_pid()
        with disturbed(pid, "sendmsg", f"delay_exit={DELAY_USEC}"):
            fds = self.allocate(connection, PAGE, count=3, label="mine")
            os.kill(pid, signal.SIGKILL)
        vmtest.wait_until(lambda: vmtest.unit_pid() not in (0, pid), DEADLINE, "there is a daemon again")
        self.n_restarts = vmtest.unit_property(vmtest.SERVICE, "NRestarts")
        buffers = vmtest.call("ListBuffers")["buffers"]
        for buffer in buffers:
            del buffer["allocatedUSec"]
        self.assertEqual(buffers, [{"id": os.fstat(fd).st_ino, "size": PAGE, "heap": "system", "label": "mine",
                                    "unit": SCOPE[1:], "cgroup": SCOPE, "uid": 1000, "user": 1000} for fd in fds])
        self.assertEqual(self.usage(self.client(SCOPE)), (3 * PAGE, 3))

    def test_is_ended_if_nobody_has_got_the_buffer(self):
        """The daemon is killed before it sends the descriptors, and they end with it."""
        connection = self.client(self.cgroup(SCOPE))
        self.use(connection)
        pid = daemon_pid()
        with disturbed(pid, "sendmsg", f"delay_enter={DELAY_USEC}"):
            connection.send("Allocate", {"size": PAGE})
            vmtest.wait_until(kernel_buffers, DEADLINE, "the buffer is there")
            os.kill(pid, signal.SIGKILL)
            with self.assertRaises(vmtest.ConnectionClosed):
                connection.receive()
        vmtest.wait_until(lambda: vmtest.unit_pid() not in (0, pid), DEADLINE, "there is a daemon again")
        self.n_restarts = vmtest.unit_property(vmtest.SERVICE, "NRestarts")
        self.assertEqual(daemon_buffers(), kernel_buffers())
        self.assertEqual(self.usage(self.client(SCOPE)), (0, 0))


if __name__ == "__main__":
    vmtest.main()
