# SPDX-License-Identifier: GPL-2.0-only
"""What the suites of the daemon share: its configuration, its processes, and peers in every state."""

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
    """Stops the daemon and gives it this configuration. The next client starts it."""
    os.makedirs(os.path.dirname(CONFIG), exist_ok=True)
    with open(CONFIG, "w", encoding="ascii") as file:
        file.write(text)
    vmtest.systemctl("stop", "dmaheapd.socket", vmtest.SERVICE)
    vmtest.systemctl("start", "dmaheapd.socket")


def configured():
    """The configuration that configure() has given to the daemon, or None."""
    if not os.path.exists(CONFIG):
        return None
    with open(CONFIG, encoding="ascii") as file:
        return file.read()


def daemon_pid():
    """The pid of the daemon, which is started if it is not running."""
    vmtest.call("ListHeaps")
    return vmtest.unit_pid()


def spawner_pid():
    (pid,) = (pid for pid in vmtest.pids_named("dmaheapd-spawner") if parent(pid) == vmtest.unit_pid())
    return pid


def worker_pids():
    """The pids of the workers: the children of the spawner. A worker that is frozen from its start has not set its name
    yet."""
    return children(spawner_pid())


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def parent(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        return int(file.read().rpartition(")")[2].split()[1])


@contextlib.contextmanager
def daemon_stopped():
    """Within this context the daemon is stopped (SIGSTOP); clients can still connect to its socket."""
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
    """The bytes of dirty memory that only this process has. They include file pages, because the root is an
    initramfs."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return int(re.search(r"^Private_Dirty: *(\d+) kB", file.read(), re.MULTILINE)[1]) * 1024


SANITIZER_COMPLAINTS = re.compile(r"runtime error:|AddressSanitizer|LeakSanitizer|SUMMARY: ")


class DaemonTest(unittest.TestCase):
    """Tests with a daemon. After each test it has not crashed, no sanitizer has complained, and all buffers are
    freed."""

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
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "NRestarts"), self.n_restarts,
                         "the daemon was started again")
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "Result"), "success")
        self.assertNotRegex(vmtest.journal(), SANITIZER_COMPLAINTS)

    def assert_buffers_gone(self):
        vmtest.wait_until(lambda: vmtest.live_buffers() <= self.buffers_before, DEADLINE, "all buffers are gone")

    def close_later(self, reply):
        """The reply, whose file descriptors are closed when the test is over."""
        self.addCleanup(vmtest.close_fds, reply.fds)
        return reply

    def assert_served(self, reply, heap="system", count=1):
        """The reply, which has buffers of that heap. They are closed when the test is over, also if it fails here."""
        self.close_later(reply)
        self.assertIsNone(reply.error, reply)
        self.assertEqual(reply["heap"], heap)
        self.assertEqual(len(reply.fds), count)
        return reply

    def use(self, connection, **parameters):
        """Allocates and closes what it got."""
        reply = connection.call("Allocate", {"size": 4096} | parameters)
        vmtest.close_fds(reply.fds)
        self.assertIsNone(reply.error, reply)

    def look_at_worker(self, connection, look):
        """The result of look(PID) for the worker of a connection.

        A worker ends a second after its last call, which may be too soon for look(): then there is another call."""
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
        """A Peer that ends when the test is over, and its connection."""
        peer = Peer(**keywords)
        self.addCleanup(peer.end)
        return peer, peer.connection

    def assert_others_served(self):
        """Another client gets a buffer."""
        result = vmtest.as_user("user2", serve_another)
        self.assertEqual(result, ("system", 4096))


def serve_another():
    with vmtest.Varlink(timeout=DEADLINE) as connection:
        reply = connection.call("Allocate", {"size": 4096})
        vmtest.close_fds(reply.fds)
        return reply["heap"], reply["buffers"][0]["size"]


# Peers

class Peer:
    """A process that has made a connection, which this process uses: to the daemon, that process is the peer.

    It belongs to 'user' (an account, or a function that changes to one) and 'cgroup'. After connecting it executes
    'then', or exits if that is "exit"; without 'then' it waits."""

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
    sock.close()  # the connection stays open, since the parent has it, too
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
    """Installs the modules of tests/modules, so that libkmod finds them by their aliases."""
    shutil.copytree(TEST_MODULES, MODULES + "/updates/tests", dirs_exist_ok=True)
    depmod()


@contextlib.contextmanager
def modprobe_conf(text):
    """Within this context these lines of modprobe.d(5) hold."""
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
    """Within this context the module is not installed, and the indexes do not list it."""
    path = vmtest.run("modinfo", "--field", "filename", name).strip()
    shutil.move(path, "/run/" + os.path.basename(path))
    depmod()
    try:
        yield
    finally:
        shutil.move("/run/" + os.path.basename(path), path)
        depmod()


def module_state(name):
    """'Live', 'Loading' or 'Unloading', or None for a module that is not loaded."""
    with open("/proc/modules", encoding="ascii") as file:
        return next((line.split()[4] for line in file if line.split()[0] == name), None)
