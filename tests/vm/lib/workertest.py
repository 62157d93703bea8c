# SPDX-License-Identifier: GPL-2.0-only
"""What the suites of the workers share: files of control groups, clients whose request stands still, and the
protocol."""

import contextlib
import fcntl
import os
import re
import select
import signal
import socket
import struct

import vmtest
from accountingtest import CGROUPS, AccountingTest
from daemontest import DEADLINE, process_state, unit_cgroup, worker_pids

DROP_IN = "/run/systemd/system/dmaheapd.service.d/test.conf"


@contextlib.contextmanager
def service_with(*lines):
    """Within this context the daemon's unit has these lines. It is stopped at both ends, and the next client starts
    it."""
    os.makedirs(os.path.dirname(DROP_IN), exist_ok=True)
    with open(DROP_IN, "w", encoding="ascii") as file:
        file.write("\n".join(("[Service]", *lines, "")))
    restart()
    try:
        yield
    finally:
        os.unlink(DROP_IN)
        restart()


def restart():
    vmtest.systemctl("daemon-reload")
    vmtest.systemctl("stop", "dmaheapd.socket", vmtest.SERVICE)
    vmtest.systemctl("start", "dmaheapd.socket")


def read(cgroup, name):
    return vmtest.read_file(f"{CGROUPS}{cgroup}/{name}")


def write(cgroup, name, value):
    vmtest.write_file(f"{CGROUPS}{cgroup}/{name}", value)


def keyed(cgroup, name):
    return vmtest.keyed(f"{CGROUPS}{cgroup}/{name}")


def charged(cgroup):
    return int(read(cgroup, "memory.current"))


def cpu_usec(cgroup):
    return keyed(cgroup, "cpu.stat")["usage_usec"]


def n_oom_kills(cgroup):
    return keyed(cgroup, "memory.events")["oom_kill"]


def processes(cgroup):
    return [int(line) for line in read(cgroup, "cgroup.procs").split()]


def frozen(cgroup):
    return keyed(cgroup, "cgroup.events")["frozen"] == 1


def freeze(cgroup):
    write(cgroup, "cgroup.freeze", 1)
    vmtest.wait_until(lambda: frozen(cgroup), DEADLINE, f"{cgroup} is frozen")


def thaw(cgroup):
    write(cgroup, "cgroup.freeze", 0)


def status(pid):
    """The fields of /proc/PID/status."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


class WorkerTest(AccountingTest):
    CONFIG = "[Daemon]\nIdleTimeoutSec=infinity\n[Limits]\nClientBytesMax=infinity\nUserBytesMax=infinity\n"

    def frozen_cgroup(self, path):
        """A control group made by hand that the test may freeze. It is thawed and emptied when the test is over."""
        self.cgroup(path)
        self.addCleanup(self.end_cgroup, path)
        return path

    def end_cgroup(self, path):
        with contextlib.suppress(FileNotFoundError):
            thaw(path)
            write(path, "cgroup.kill", 1)

    def worker_of(self, cgroup):
        """Waits for a worker in that control group; its pid."""
        return vmtest.wait_until(lambda: next((pid for pid in worker_pids() if pid in processes(cgroup)), None),
                                 DEADLINE, f"there is a worker in {cgroup}")

    def begin(self, connection, cgroup, **parameters):
        """Sends the request of a client in a frozen control group. Returns the pid of its worker, which cannot
        begin."""
        connection.send("Allocate", {"size": 4096, **parameters})
        return self.worker_of(cgroup)

    def assert_no_worker(self, cgroup):
        vmtest.wait_until(lambda: not set(worker_pids()) & set(processes(cgroup)), DEADLINE,
                          f"no worker is in {cgroup}")


def is_gone(pid):
    try:
        return process_state(pid) == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def victims(cgroup):
    """The names of the processes that the OOM killer has killed there, as far as the kernel's log goes back."""
    return re.findall(rf"oom-kill:.*,task_memcg={re.escape(cgroup)},task=([^,]*),", vmtest.run("dmesg"))


# Signals whose default is not to end a process (signal(7)). The last three stop a process, but not in an orphaned
# process group (setpgid(2)), and a service's is one.
SIGNALS_IGNORED = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH,
                   signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}


# The protocol of worker-protocol.h, for tests that stand in for the daemon

SPAWNER = "/usr/libexec/dmaheapd-spawner"
SPAWNER_TITLE = "dmaheapd-spawner: room for the title of a worker, which is written over this one, and is not short"
SPAWN_REQUEST = struct.Struct("=Q")           # id
SPAWN_REPLY = struct.Struct("=Qii")           # id, negative errno or 0, pid
WORKER_REQUEST = struct.Struct("=QQII32s")    # id, size, n_buffers, flags, label
WORKER_REPLY = struct.Struct("=QiI")          # id, negative errno or 0, n_buffers
READ_ONLY, UDMABUF = 1, 2

PIDFD_GET_INFO = 0xC040FF0B
PIDFD_INFO_EXIT = 1 << 3


class Process:
    """A process known by its pidfd, which need not be our child."""

    def __init__(self, pidfd):
        self.pidfd = pidfd

    def has_ended(self, timeout=0):
        return bool(select.select([self.pidfd], [], [], timeout)[0])

    def exit_status(self):
        """Waits until it has ended; its status as wait(2) has it."""
        vmtest.wait_until(self.has_ended, DEADLINE, "the process has ended")

        def told():
            info = bytearray(struct.pack("=Q56x", PIDFD_INFO_EXIT))
            fcntl.ioctl(self.pidfd, PIDFD_GET_INFO, info)
            return struct.unpack_from("=Q", info)[0] & PIDFD_INFO_EXIT and struct.unpack_from("=i", info, 60)

        return vmtest.wait_until(told, DEADLINE, "the process was reaped")[0]

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self):
        os.close(self.pidfd)


class Worker(Process):
    """A worker for which the test is the daemon."""

    def __init__(self, pid, pidfd, sock):
        super().__init__(pidfd)
        self.pid, self.socket = pid, sock

    def send(self, data, fds=()):
        socket.send_fds(self.socket, [data], fds)

    def receive(self):
        """The next reply: (id, error, n_buffers) and file descriptors; None if the worker has ended."""
        try:
            data, fds, _, _ = socket.recv_fds(self.socket, 1 << 10, vmtest.FDS_MAX)
        except ConnectionResetError:
            return None
        return (WORKER_REPLY.unpack(data), fds) if data else None

    def close(self):
        self.socket.close()
        super().close()


class Spawner(Process):
    """A spawner for which the test is the daemon."""

    def __init__(self):
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(DEADLINE)
        self.child = vmtest.Child(execute_spawner, theirs)
        theirs.close()
        super().__init__(os.pidfd_open(self.child.pid))

    def spawn_raw(self, data, fds):
        """Sends any message. Returns the reply, (id, error, pid) and file descriptors, or None if the spawner has
        ended."""
        try:
            socket.send_fds(self.socket, [data], fds)
            data, fds, _, _ = socket.recv_fds(self.socket, 1 << 10, 8)
        except (BrokenPipeError, ConnectionResetError):
            return None
        return (SPAWN_REPLY.unpack(data), fds) if data else None

    def spawn(self, cgroup="", number=1):
        """Starts a worker in that control group."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(DEADLINE)
        cgroup_fd = os.open(CGROUPS + cgroup, os.O_RDONLY | os.O_DIRECTORY)
        (answer, error, pid), fds = self.spawn_raw(SPAWN_REQUEST.pack(number), [cgroup_fd, theirs.fileno()])
        os.close(cgroup_fd)
        theirs.close()
        assert (answer, error, len(fds)) == (number, 0, 1), (answer, error, fds)
        return Worker(pid, fds[0], ours)

    def close(self):
        """Ends the spawner and with it its workers. Returns its exit status as wait(2) has it."""
        self.socket.close()
        status_then = os.waitpid(self.child.pid, 0)[1]
        os.close(self.child.read_fd)
        super().close()
        return status_then


def execute_spawner(sock):
    if sock.fileno() != 3:
        os.dup2(sock.fileno(), 3)
    os.set_inheritable(3, True)
    os.setgroups([0, 4])  # a worker must drop groups that its spawner has
    os.execv(SPAWNER, [SPAWNER_TITLE])
