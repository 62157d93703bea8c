# SPDX-License-Identifier: GPL-2.0-only
"""What the suites of the daemon share: its configuration, its processes, and peers that are not what they seem."""

import contextlib
import os
import re
import shutil
import signal
import socket
import unittest

import vmtest

CONFIG = "/etc/dmaheapd/dmaheapd.conf"
MODPROBE_D = "/run/modprobe.d"
MODULES = f"/usr/lib/modules/{os.uname().release}"
TEST_MODULES = "/usr/lib/dmaheapd/test-modules"

INVALID_PARAMETER = "org.varlink.service.InvalidParameter"
DEADLINE = 60


# The daemon

def configure(text=""):
    """Gives the daemon this configuration; the next client starts it, with nothing left of what was before."""
    os.makedirs(os.path.dirname(CONFIG), exist_ok=True)
    with open(CONFIG, "w", encoding="ascii") as file:
        file.write(text)
    vmtest.systemctl("stop", "dmaheapd.socket", vmtest.SERVICE)
    vmtest.systemctl("start", "dmaheapd.socket")


def configured():
    """The configuration that the daemon has from configure(), or None."""
    if not os.path.exists(CONFIG):
        return None
    with open(CONFIG, encoding="ascii") as file:
        return file.read()


def daemon_pid():
    """The daemon's process, started if it was not running."""
    vmtest.call("ListHeaps")
    return vmtest.unit_pid()


def spawner_pid():
    (pid,) = (pid for pid in vmtest.pids_named("dmaheapd-spawner") if parent(pid) == vmtest.unit_pid())
    return pid


def worker_pids():
    """The processes that the spawner has started. Their names say nothing: one that is frozen from its start has not got one."""
    return children(spawner_pid())


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def parent(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[1])


@contextlib.contextmanager
def daemon_stopped():
    """The daemon does nothing meanwhile, but its socket lets clients connect."""
    pid = daemon_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        vmtest.wait_until(lambda: process_state(pid) == "T", what="the daemon stands still")
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def process_state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return file.read().rpartition(")")[2].split()[0]


def private_dirty(pid):
    """Bytes of memory that are this process's only. File pages of the testbed's initramfs count as dirty: more, not less."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return int(re.search(r"^Private_Dirty: *(\d+) kB", file.read(), re.MULTILINE)[1]) * 1024


SANITIZER_COMPLAINTS = re.compile(r"runtime error:|AddressSanitizer|LeakSanitizer|SUMMARY: ")


class DaemonTest(unittest.TestCase):
    """Tests with a daemon of which none may crash, nor make a sanitizer complain, nor keep a buffer."""

    longMessage = True
    CONFIG = ""

    @classmethod
    def setUpClass(cls):
        if configured() != cls.CONFIG:
            configure(cls.CONFIG)

    def setUp(self):
        self.n_restarts = vmtest.unit_property(vmtest.SERVICE, "NRestarts")
        self.buffers_before = vmtest.live_buffers()
        self.addCleanup(self.assert_buffers_gone)

    def tearDown(self):
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "NRestarts"), self.n_restarts, "the daemon was started again")
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "Result"), "success")
        self.assertNotRegex(vmtest.journal(), SANITIZER_COMPLAINTS)

    def assert_buffers_gone(self):
        vmtest.wait_until(lambda: vmtest.live_buffers() <= self.buffers_before, DEADLINE, "all buffers are gone")

    def close_later(self, reply):
        """The reply, whose file descriptors are closed when the test is over."""
        self.addCleanup(vmtest.close_fds, reply.fds)
        return reply

    def assert_served(self, reply, heap="system", count=1):
        self.assertIsNone(reply.error, reply)
        self.assertEqual(reply["heap"], heap)
        self.assertEqual(len(reply.fds), count)
        self.close_later(reply)
        return reply

    def use(self, connection, **parameters):
        """Allocates and gives back."""
        reply = connection.call("Allocate", {"size": 4096} | parameters)
        vmtest.close_fds(reply.fds)
        self.assertIsNone(reply.error, reply)

    def look_at_worker(self, connection, look):
        """What look(PID) says of the worker of a connection. It ends a second after a call, which may be too soon for us."""
        def result():
            self.use(connection)
            for pid in worker_pids():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    return (look(pid),)
            return None

        return vmtest.wait_until(result, DEADLINE, "there is a worker")[0]

    def assert_error(self, reply, error, **parameters):
        self.close_later(reply)
        self.assertEqual(reply.error, error, reply)
        self.assertEqual(reply.fds, [])
        self.assertEqual(reply.parameters, reply.parameters | parameters)

    def connected_peer(self, **keywords):
        """A Peer that ends with the test, and its connection."""
        peer = Peer(**keywords)
        self.addCleanup(peer.end)
        return peer, peer.connection

    def assert_others_served(self):
        """Another client gets what it wants, at once."""
        result = vmtest.as_user("user2", serve_another)
        self.assertEqual(result, ("system", 4096))


def serve_another():
    with vmtest.Varlink(timeout=DEADLINE) as connection:
        reply = connection.call("Allocate", {"size": 4096})
        vmtest.close_fds(reply.fds)
        return reply["heap"], reply["buffers"][0]["size"]


# Peers

class Peer:
    """A process that has connected, and whose connection this process uses: what the daemon learns of its peer it learns of
    that process.

    It belongs to 'user' (an account, or a function that changes to one) and 'cgroup'. After connecting it executes 'then', or, if that is "exit", exits; else it waits.
    """

    def __init__(self, user="user1", cgroup=None, then=None):
        self.connection = vmtest.Varlink.__new__(vmtest.Varlink)
        self.connection.received = bytearray()
        self.connection.fds = []
        self.connection.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection.socket.settimeout(DEADLINE)
        self.child = vmtest.Child(connect_and_be, self.connection.socket, user, cgroup, then)
        vmtest.wait_until(lambda: is_connected(self.connection.socket), DEADLINE, "the peer has connected")

    def end(self):
        self.connection.close()
        with contextlib.suppress(ProcessLookupError):
            self.child.kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.child.pid, 0)
        os.close(self.child.read_fd)


def is_connected(sock):
    try:
        sock.getpeername()
        return True
    except OSError:
        return False


def connect_and_be(sock, user, cgroup, then):
    if cgroup:
        with open(f"/sys/fs/cgroup{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(os.getpid()))
    if callable(user):
        user()
    else:
        vmtest.become(user)
    sock.connect(vmtest.SOCKET)
    sock.close()  # the connection stays, as the parent has it
    if then == "exit":
        os._exit(0)
    if then:
        os.execv(then[0], then)
    signal.pause()


def unit_cgroup(unit):
    return vmtest.unit_property(unit, "ControlGroup")


# Modules

def depmod():
    vmtest.run("depmod", "-a")


def install_test_modules():
    """Puts the modules of tests/modules where libkmod finds them, each heap's module by its alias."""
    shutil.copytree(TEST_MODULES, MODULES + "/updates/tests", dirs_exist_ok=True)
    depmod()


@contextlib.contextmanager
def modprobe_conf(text):
    """Lines of modprobe.d(5) that hold meanwhile."""
    path = MODPROBE_D + "/zz-test.conf"
    os.makedirs(MODPROBE_D, exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        file.write(text + "\n")
    try:
        yield
    finally:
        os.unlink(path)


@contextlib.contextmanager
def module_absent(name):
    """The module's file is not there meanwhile, and the indexes know it."""
    path = vmtest.run("modinfo", "--field", "filename", name).strip()
    shutil.move(path, "/run/" + os.path.basename(path))
    depmod()
    try:
        yield
    finally:
        shutil.move("/run/" + os.path.basename(path), path)
        depmod()


def module_state(name):
    """'Live', 'Loading' or 'Unloading', or None for one that is not there."""
    with open("/proc/modules", encoding="ascii") as file:
        return next((line.split()[4] for line in file if line.split()[0] == name), None)
