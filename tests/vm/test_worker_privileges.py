#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" timeout=900
"""A worker may do next to nothing, holds only its socket, says what it is, and its death fails only its own request."""

import ctypes
import errno
import os
import pwd
import signal
import socket
import stat

import vmtest
from daemontest import DEADLINE, daemon_pid, process_state, spawner_pid
from workertest import SIGNALS_IGNORED, WORKER_REQUEST, Spawner, WorkerTest, freeze, is_gone, status, thaw

SCOPE = "/test-worked-for.scope"
TITLE = "dmaheapd-worker: allocates dma-bufs for a client in this control group"
PAGE = 4096


# ptrace(2) makes a process call what it would not call itself

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_ulong, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long
PEEKTEXT, POKETEXT, CONT, GETREGS, SETREGS, ATTACH = 1, 4, 7, 12, 13, 16
RDI, RSI, RDX, R10, RAX, ORIG_RAX, RIP = 14, 13, 12, 7, 10, 15, 16
WALL = 0x40000000


def ptrace(request, pid, address=None, data=None):
    ctypes.set_errno(0)
    result = libc.ptrace(request, pid, address, data)
    if ctypes.get_errno():
        raise OSError(ctypes.get_errno(), f"ptrace {request}")
    return result


def call_in(pid, number, *arguments, compat=False):
    """Makes a process that waits in a system call make another one. Returns wait(2)'s status of the process.

    A worker that was allowed the call takes its result for the length of a message, finds that wrong, and exits."""
    ptrace(ATTACH, pid)
    _, state = os.waitpid(pid, WALL)
    assert os.WIFSTOPPED(state), state
    registers = (ctypes.c_ulonglong * 27)()
    ptrace(GETREGS, pid, None, ctypes.addressof(registers))
    registers[RIP] -= 2  # back to the instruction 'syscall', which has been executed
    registers[ORIG_RAX] = ctypes.c_ulonglong(-1).value
    registers[RAX] = number
    for register, value in zip((RDI, RSI, RDX, R10), arguments):
        registers[register] = ctypes.c_ulonglong(value).value
    if compat:  # int 0x80
        word = ptrace(PEEKTEXT, pid, registers[RIP])
        ptrace(POKETEXT, pid, registers[RIP], ctypes.c_ulonglong(word & ~0xFFFF | 0x80CD).value)
    ptrace(SETREGS, pid, None, ctypes.addressof(registers))
    ptrace(CONT, pid)
    _, state = os.waitpid(pid, WALL)
    return state


def iow(kind, number, size):
    return 1 << 30 | size << 16 | ord(kind) << 8 | number


class Privileges(WorkerTest):
    def setUp(self):
        super().setUp()
        self.cgroup(SCOPE)
        self.spawner = Spawner()
        self.addCleanup(self.spawner.close)

    def worker(self):
        """A worker that waits for a request."""
        worker = self.spawner.spawn(SCOPE)
        self.addCleanup(worker.close)
        # A worker that has answered has finished its setup.
        worker.send(WORKER_REQUEST.pack(7, PAGE, 1, 0, b""))
        self.assertEqual(worker.receive(), ((7, -errno.EINVAL, 0), []))  # the request had no device
        vmtest.wait_until(lambda: process_state(worker.pid) == "S", DEADLINE, "the worker waits")
        return worker

    def test_a_worker_has_no_privileges_and_cannot_be_inspected(self):
        worker = self.worker()
        fields = status(worker.pid)
        user = pwd.getpwnam("dmaheapd-worker")
        self.assertEqual((fields["Uid"].split(), fields["Gid"].split()),
                         ([str(user.pw_uid)] * 4, [str(user.pw_gid)] * 4))
        self.assertEqual(fields["Groups"], "")
        self.assertEqual({fields[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}, {""})
        self.assertEqual((fields["NoNewPrivs"], fields["Seccomp"], fields["Threads"]), ("1", "2", "1"))
        # /proc shows a process that is not dumpable as root's, whatever its uid.
        self.assertEqual(os.stat(f"/proc/{worker.pid}/environ").st_uid, 0)
        with open(f"/proc/{worker.pid}/oom_score_adj", encoding="ascii") as file:
            self.assertEqual(file.read(), "1000\n")
        with self.assertRaises(PermissionError):
            vmtest.as_user("dmaheapd-worker", ptrace, ATTACH, worker.pid)
        with self.assertRaises(PermissionError):
            vmtest.as_user("dmaheapd-worker", os.listdir, f"/proc/{worker.pid}/fd")

    def test_a_worker_keeps_only_its_socket(self):
        """It has none of the spawner's descriptors, and none of a request that is over."""
        worker = self.worker()
        device = os.open("/dev/dma_heap/system", os.O_RDWR)
        self.addCleanup(os.close, device)
        folder = f"/proc/{worker.pid}/fd"
        for count in (1, 253):
            with self.subTest(count=count):
                worker.send(WORKER_REQUEST.pack(count, PAGE, count, 0, b"label"), [device])
                answer, fds = worker.receive()
                vmtest.close_fds(fds)
                self.assertEqual((answer, len(fds)), ((count, 0, count), count))
                vmtest.wait_until(lambda: len(os.listdir(folder)) == 1, DEADLINE, "one descriptor")
                self.assertEqual(os.listdir(folder), ["0"])
                self.assertTrue(stat.S_ISSOCK(os.stat(folder + "/0").st_mode))
        spawners = f"/proc/{self.spawner.child.pid}/fd"
        self.assertEqual(os.listdir(spawners), ["3"])

    def test_a_worker_ends_with_its_spawner(self):
        worker = self.worker()
        self.spawner.child.kill()
        self.assertEqual(os.WTERMSIG(worker.exit_status()), signal.SIGKILL)

    def test_a_worker_ends_with_its_socket(self):
        worker = self.worker()
        worker.socket.shutdown(socket.SHUT_RDWR)
        self.assertEqual(worker.exit_status(), 0)

    def test_workers_and_spawner_say_what_they_are(self):
        """An administrator who finds a worker in a service reads its purpose in the title."""
        worker = self.worker()
        self.assertRegex(vmtest.run("systemd-cgls", "--full", SCOPE), rf"(?m)─{worker.pid} {TITLE}$")
        self.assertEqual(status(worker.pid)["Name"], "dmaheapd-worker")
        daemon_pid()
        self.assertIn("dmaheapd-spawner: starts ", vmtest.run("systemd-cgls", "--full", "--unit", vmtest.SERVICE))

    ALLOWED = {"close": (3, -1), "ioctl, allocate": (16, -1, 0xC0184800), "fcntl, seal": (72, -1, 1033)}
    FORBIDDEN = {
        "read": (0, 0, 0, 0), "write": (1, -1, 0, 0), "open": (2, 0), "openat": (257, -100, 0),
        "openat2": (437, -100, 0), "mmap": (9, 0, 4096, 7, 0x22), "mprotect": (10, 0, 0, 0), "socket": (41, 1, 1),
        "connect": (42, 0), "dup": (32, 0),
        "getpid": (39,), "getuid": (102,), "kill": (62, 1, 0), "fork": (57,), "clone": (56, 0), "clone3": (435, 0, 0),
        "execve": (59, 0), "ptrace": (101, 0), "prctl": (157, 4, 1), "setuid": (105, 0), "capset": (126, 0, 0),
        "seccomp": (317, 0), "bpf": (321, 0, 0), "io_uring_setup": (425, 1, 0), "mount": (165, 0), "unshare": (272, 0),
        "process_vm_readv": (310, 1), "pidfd_getfd": (438, 0), "nanosleep": (35, 0), "setrlimit": (160, 7, 0),
        "ioctl, any other": (16, 0, 0x5401), "ioctl, sync of a dma-buf": (16, 0, iow("b", 0, 8)),
        "fcntl, dup": (72, 0, 0), "fcntl, flags": (72, 0, 4, 0), "none": (999,), "x32": (0x40000000 | 39,),
    }

    def test_other_system_calls_kill_a_worker(self):
        for name, (number, *arguments) in self.ALLOWED.items():
            with self.subTest(name=name):
                state = call_in(self.worker().pid, number, *arguments)
                self.assertEqual((os.WIFEXITED(state), state >> 8), (True, 1), state)
        for name, (number, *arguments) in self.FORBIDDEN.items():
            with self.subTest(name=name):
                state = call_in(self.worker().pid, number, *arguments)
                self.assertTrue(os.WIFSIGNALED(state) and os.WTERMSIG(state) == signal.SIGSYS, state)
        with self.subTest(name="another architecture's"):
            state = call_in(self.worker().pid, 20, compat=True)
            self.assertTrue(os.WIFSIGNALED(state) and os.WTERMSIG(state) == signal.SIGSYS, state)


class Killed(WorkerTest):
    def test_a_signal_to_a_worker_concerns_only_its_request(self):
        cgroup = self.frozen_cgroup(SCOPE)
        connection = self.client(cgroup)
        self.use(connection)
        family = daemon_pid(), spawner_pid()
        for number in (*range(1, 32), signal.SIGRTMIN, signal.SIGRTMAX):
            with self.subTest(signal=number):
                self.assert_no_worker(cgroup)
                freeze(cgroup)
                worker = self.begin(connection, cgroup)
                os.kill(worker, number)
                if number != signal.SIGKILL:
                    thaw(cgroup)
                if number == signal.SIGSTOP:
                    vmtest.wait_until(lambda: process_state(worker) == "T", DEADLINE, "the worker has stopped")
                    os.kill(worker, signal.SIGCONT)
                reply = connection.receive()
                vmtest.close_fds(reply.fds)
                # Children inherit that systemd's services ignore SIGPIPE.
                if number in SIGNALS_IGNORED | {signal.SIGSTOP, signal.SIGPIPE}:
                    self.assertIsNone(reply.error, reply)
                else:
                    self.assertEqual((reply.error, reply.parameters), ("OutOfResources", {"resource": "processes"}))
                    vmtest.wait_until(lambda: is_gone(worker), DEADLINE, "the worker is gone")
                thaw(cgroup)
        self.use(connection)
        self.assert_others_served()
        self.assertEqual((daemon_pid(), spawner_pid()), family)
        self.assertEqual(self.usage(connection)[1], 0)


if __name__ == "__main__":
    vmtest.main()
