# SPDX-License-Identifier: GPL-2.0-only
"""What the suites of the accounting share: clients of every kind, and the buffers that kernel and daemon say they
hold."""

import os
import re

import vmtest
from daemontest import DEADLINE, DaemonTest, unit_cgroup

PAGE = 4096
MIB = 1 << 20
CMA = "default_cma_region"
CGROUPS = "/sys/fs/cgroup"
PERMISSION_DENIED = "org.varlink.service.PermissionDenied"


def kernel_buffers():
    """The size of each dma-buf in the machine by its inode, as the kernel lists them."""
    vmtest.live_buffers()  # mounts debugfs
    with open("/sys/kernel/debug/dma_buf/bufinfo", encoding="utf-8", errors="replace") as file:
        lines = (re.match(r"(\d{8,})\s+[0-9a-f]{8}\s+[0-9a-f]{8}\s+\d{8}\s+\S+\s+(\d{8,})", line) for line in file)
        return {int(match[2]): int(match[1]) for match in lines if match}


def daemon_buffers(**whose):
    """The size of each buffer by its inode, as the daemon lists its own."""
    reply = vmtest.call("ListBuffers", whose)
    assert reply.error is None, reply
    return {buffer["id"]: buffer["size"] for buffer in reply["buffers"]}


class AccountingTest(DaemonTest):
    """Tests with clients that are processes in control groups of their own. The test uses their connections."""

    def cgroup(self, path):
        """A control group made by hand. To the daemon, one whose name ends in .scope is a unit."""
        os.mkdir(CGROUPS + path)
        self.addCleanup(vmtest.wait_until, lambda: remove_cgroup(path), what=f"{path} is empty")
        return path

    def unit(self, name, *command, **properties):
        """Runs a command, or one that does nothing, as a service until the test is over. Returns its control group."""
        vmtest.start_unit(name, *(command or ("sleep", "infinity")), **properties)
        self.addCleanup(vmtest.systemctl, "stop", name, check=False)
        return unit_cgroup(name)

    def client(self, cgroup=None, user="user1"):
        """The connection of a new process of that control group and user, which has inherited no buffers."""
        peer, connection = self.connected_peer(cgroup=cgroup, user=user, then=["/usr/bin/sleep", "infinity"])
        vmtest.wait_until(lambda: command_name(peer.child.pid) == "sleep", DEADLINE,
                          "the client has closed what it inherited")
        return connection

    def allocate(self, connection, size, **parameters):
        """The file descriptors of new buffers. The test may close them; those that it leaves are closed at its end."""
        reply = connection.call("Allocate", {"size": size, **parameters})
        for fd in reply.fds:
            os.set_inheritable(fd, False)  # Python 3.13's recv_fds() forgets its flags
            self.addCleanup(close_if_same, fd, os.fstat(fd).st_ino)
        self.assertIsNone(reply.error, reply)
        self.assertEqual(len(reply.fds), parameters.get("count", 1))
        return reply.fds

    def assert_refused(self, connection, scope, limit, used, size, count=1, resource="bytes", name=None, **parameters):
        reply = connection.call("Allocate", {"size": size, "count": count, **parameters})
        requested = count if resource == "buffers" else -(-size // PAGE) * PAGE * count
        self.assert_error(reply, "QuotaExceeded")
        said = dict(reply.parameters)
        self.assertEqual(said.pop("name", None), name)
        self.assertEqual(said, {"scope": scope, "resource": resource, "limit": limit, "used": used,
                                "requested": requested})

    def usage(self, connection):
        """The numbers of bytes and buffers that the client holds."""
        reply = connection.call("GetUsage")
        self.assertIsNone(reply.error, reply)
        return reply["client"]["bytesUsed"], reply["client"]["buffersUsed"]


def command_name(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
        return file.read().strip()


def remove_cgroup(path):
    """Tries to remove a control group. Returns whether it is gone; a worker may be in it for a moment longer."""
    try:
        os.rmdir(CGROUPS + path)
    except OSError:
        return not os.path.exists(CGROUPS + path)
    return True


def close_if_same(fd, inode):
    """Closes a file descriptor, unless the test has closed it (and the number is another file's by now)."""
    try:
        same = os.fstat(fd).st_ino == inode
    except OSError:
        return
    if same:
        os.close(fd)
