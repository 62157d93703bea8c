# SPDX-License-Identifier: GPL-2.0-only
"""What the suites of the accounting share: clients of every kind, and what the kernel and the daemon say they hold."""

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
    """Size by inode of all dma-bufs there are, as the kernel lists them."""
    vmtest.live_buffers()  # mounts debugfs
    with open("/sys/kernel/debug/dma_buf/bufinfo", encoding="utf-8", errors="replace") as file:
        lines = (re.match(r"(\d{8,})\s+[0-9a-f]{8}\s+[0-9a-f]{8}\s+\d{8}\s+\S+\s+(\d{8,})", line) for line in file)
        return {int(match[2]): int(match[1]) for match in lines if match}


def daemon_buffers(**whose):
    """The same, as the daemon lists those of its own."""
    reply = vmtest.call("ListBuffers", whose)
    assert reply.error is None, reply
    return {buffer["id"]: buffer["size"] for buffer in reply["buffers"]}


class AccountingTest(DaemonTest):
    """Tests with clients that are processes in control groups of their own, whose connections are here."""

    def cgroup(self, path):
        """A control group made by hand; one whose name ends in .scope is a unit to the daemon."""
        os.mkdir(CGROUPS + path)
        self.addCleanup(vmtest.wait_until, lambda: remove_cgroup(path), what=f"{path} is empty")
        return path

    def unit(self, name, *command, **properties):
        """A service that does nothing, or the command, until the test is over; its control group."""
        vmtest.start_unit(name, *(command or ("sleep", "infinity")), **properties)
        self.addCleanup(vmtest.systemctl, "stop", name, check=False)
        return unit_cgroup(name)

    def client(self, cgroup=None, user="user1"):
        """The connection of a new process of that control group and user, which has none of our buffers."""
        peer, connection = self.connected_peer(cgroup=cgroup, user=user, then=["/usr/bin/sleep", "infinity"])
        vmtest.wait_until(lambda: command_name(peer.child.pid) == "sleep", DEADLINE, "the client has closed what it inherited")
        return connection

    def allocate(self, connection, size, **parameters):
        """The buffers' file descriptors, which are the test's to close, or to leave until its end."""
        reply = connection.call("Allocate", {"size": size, **parameters})
        self.assertIsNone(reply.error, reply)
        self.assertEqual(len(reply.fds), parameters.get("count", 1))
        for fd in reply.fds:
            os.set_inheritable(fd, False)  # Python 3.13's recv_fds() forgets its flags
            self.addCleanup(close_if_same, fd, os.fstat(fd).st_ino)
        return reply.fds

    def assert_refused(self, connection, scope, limit, used, size, count=1, resource="bytes", name=None, **parameters):
        reply = connection.call("Allocate", {"size": size, "count": count, **parameters})
        requested = count if resource == "buffers" else -(-size // PAGE) * PAGE * count
        self.assert_error(reply, "QuotaExceeded")
        said = dict(reply.parameters)
        self.assertEqual(said.pop("name", None), name)
        self.assertEqual(said, {"scope": scope, "resource": resource, "limit": limit, "used": used, "requested": requested})

    def usage(self, connection):
        """Bytes and buffers that the client holds."""
        reply = connection.call("GetUsage")
        self.assertIsNone(reply.error, reply)
        return reply["client"]["bytesUsed"], reply["client"]["buffersUsed"]


def command_name(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
        return file.read().strip()


def remove_cgroup(path):
    """Whether it is gone; what still runs in it is a worker about to leave."""
    try:
        os.rmdir(CGROUPS + path)
    except OSError:
        return not os.path.exists(CGROUPS + path)
    return True


def close_if_same(fd, inode):
    """Closes it unless the test has."""
    try:
        same = os.fstat(fd).st_ino == inode
    except OSError:
        return
    if same:
        os.close(fd)

