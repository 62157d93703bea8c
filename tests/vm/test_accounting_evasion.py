#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M"
# testbed: kernel=stock build=sanitize append="cma=64M dma_heap.mem_accounting=1"
"""No trick evades the limits: a buffer is charged to the client that asked for it until the kernel has freed it."""

import fcntl
import mmap
import os
import signal
import socket
import struct

import vmtest
from accountingtest import CGROUPS, PAGE, PERMISSION_DENIED, AccountingTest
from daemontest import DEADLINE, Peer, unit_cgroup

SCOPE = "/test-evader.scope"
LIMIT = 16 * PAGE
SUBORDINATE_UID = 100000


class Evasion(AccountingTest):
    CONFIG = f"[Limits]\nClientBytesMax={LIMIT}\nUserBytesMax={2 * LIMIT}\n"

    def assert_full(self, connection, name="test-evader.scope"):
        self.assert_refused(connection, "client", LIMIT, LIMIT, PAGE, name=name)

    def assert_free(self, connection):
        """The charge is gone at the first GetUsage after the last reference to the buffer was dropped."""
        self.assertEqual(self.usage(connection), (0, 0))
        vmtest.close_fds(self.allocate(connection, LIMIT))


class Holding(Evasion):
    """A buffer is held by something else than a file descriptor of the client, which stays charged for it."""

    def setUp(self):
        super().setUp()
        self.cgroup(SCOPE)
        self.evader = self.client(SCOPE)
        (self.fd,) = self.allocate(self.evader, LIMIT)

    def test_disconnecting_does_not_free_the_charge(self):
        self.evader.close()
        evader = self.client(SCOPE)
        self.assert_full(evader)
        os.close(self.fd)
        self.assert_free(evader)

    def test_the_end_of_process_and_control_group_does_not_free_the_charge(self):
        """A unit that is started again under the same name is still charged, though process and control group are new
        ones."""
        name = "test-leaves.service"
        peer = Peer(cgroup=self.unit(name))
        (fd,) = self.allocate(peer.connection, LIMIT)
        path = CGROUPS + unit_cgroup(name)
        peer.end()
        vmtest.stop_unit(name)
        vmtest.wait_until(lambda: not os.path.exists(path), DEADLINE, "the control group is gone")
        evader = self.client(self.unit(name))
        self.assert_full(evader, name=name)
        os.close(fd)
        self.assert_free(evader)

    def test_a_buffer_that_is_only_mapped_is_charged(self):
        memory = mmap.mmap(self.fd, LIMIT, trackfd=False)
        os.close(self.fd)
        self.assert_full(self.evader)
        memory.close()
        self.assert_free(self.evader)

    def test_a_buffer_that_was_passed_to_another_user_is_charged_to_the_first(self):
        ours, theirs = socket.socketpair()
        child = vmtest.Child(receive_and_wait, theirs, user="user2")
        socket.send_fds(ours, [b"x"], [self.fd])
        self.assertEqual(ours.recv(1), b"x")
        os.close(self.fd)
        self.assert_full(self.evader)
        self.assertEqual(self.usage(self.client(SCOPE, user="user2")), (0, 0))
        child.kill()
        os.waitpid(child.pid, 0)
        os.close(child.read_fd)
        self.assert_free(self.evader)

    def test_a_buffer_in_an_unread_socket_is_charged(self):
        unread = InSocket(self.fd)
        self.assert_full(self.evader)
        unread.close()
        self.assert_free(self.evader)

    def test_a_buffer_that_only_a_forked_child_holds_is_charged(self):
        child = vmtest.Child(signal.pause, user="user1")
        os.close(self.fd)
        self.assert_full(self.evader)
        child.kill()
        os.waitpid(child.pid, 0)
        os.close(child.read_fd)
        self.assert_free(self.evader)

    def test_a_buffer_that_only_a_driver_holds_is_charged(self):
        """vgem has imported the buffer, and every file descriptor of it is closed."""
        vmtest.run("modprobe", "vgem")
        card = vgem()
        try:
            fcntl.ioctl(card, 0xc00c642e, struct.pack("IIi", 0, 0, self.fd))  # DRM_IOCTL_PRIME_FD_TO_HANDLE
            os.close(self.fd)
            self.assert_full(self.evader)
        finally:
            os.close(card)
        self.assert_free(self.evader)

    def test_connecting_again_does_not_help(self):
        for _ in range(30):
            with self.client(SCOPE) as evader:
                self.assert_full(evader)

    def test_a_control_group_below_a_unit_is_that_unit(self):
        """At any depth."""
        self.cgroup(SCOPE + "/sub")
        self.cgroup(SCOPE + "/sub/sub")
        for path in (SCOPE, SCOPE + "/sub", SCOPE + "/sub/sub"):
            with self.subTest(path=path):
                self.assert_full(self.client(path))


class Asking(Evasion):
    def test_a_reply_that_is_never_read_is_charged(self):
        self.cgroup(SCOPE)
        evader, other = self.client(SCOPE), self.client(SCOPE)
        evader.send("Allocate", {"size": LIMIT})
        vmtest.wait_until(lambda: vmtest.live_buffers() - self.buffers_before, DEADLINE, "there is a buffer")
        self.assert_full(other)
        evader.close()
        self.assert_free(other)

    def test_many_connections_share_one_limit(self):
        self.cgroup(SCOPE)
        connections = [self.client(SCOPE) for _ in range(60)]
        for connection in connections:
            connection.send("Allocate", {"size": PAGE})
        replies = [self.close_later(connection.receive()) for connection in connections]
        errors = [str(reply.error) for reply in replies]
        self.assertEqual((errors.count("None"), errors.count("QuotaExceeded")), (16, 44))
        self.assertEqual(self.usage(connections[0]), (LIMIT, 16))

    def test_new_scopes_share_the_limit_of_their_user(self):
        """Each scope is a client of its own, but all of them are the same user's."""
        for name in "ab":
            self.allocate(self.client(self.cgroup(f"/test-{name}.scope")), LIMIT)
        self.assert_refused(self.client(self.cgroup("/test-c.scope")), "user", 2 * LIMIT, 2 * LIMIT, PAGE, name="1000")

    def test_without_a_unit_the_control_group_is_the_client(self):
        """Control groups below such a one are clients of their own, and count for the same user."""
        one = self.cgroup("/test-bare")
        evader = self.client(one)
        self.allocate(evader, LIMIT)
        self.assert_full(evader, name="/test-bare")
        self.allocate(self.client(self.cgroup("/test-bare/sub")), LIMIT)
        self.assert_refused(self.client(self.cgroup("/test-bare/other")), "user", 2 * LIMIT, 2 * LIMIT, PAGE,
                            name="1000")

    def test_subordinate_uids_count_for_the_user_of_their_slice(self):
        """In a user namespace the user chooses the uids. They all count for the user whose slice it is, and the root of
        such a namespace may not do what root may."""
        self.unit("test-keep.service", Slice="user-1000.slice")
        scope = "/user.slice/user-1000.slice/test-session.scope"
        self.cgroup(scope)
        first, second = self.client(scope), self.client(scope, user=lambda: enter_namespace(1))
        self.allocate(first, LIMIT)
        self.allocate(second, LIMIT)
        another = self.cgroup("/user.slice/user-1000.slice/test-another.scope")
        for uid in (0, 1, 2):
            with self.subTest(uid=uid):
                connection = self.client(another, user=lambda inside=uid: enter_namespace(inside))
                self.assert_refused(connection, "user", 2 * LIMIT, 2 * LIMIT, PAGE, name="1000")
                for method in ("ListClients", "ListBuffers"):
                    self.assert_error(connection.call(method), PERMISSION_DENIED)
        clients = vmtest.call("ListClients")["clients"]
        users = {(client["uid"], client["user"]) for client in clients if client["usage"]["bytesUsed"]}
        self.assertEqual(users, {(1000, 1000), (SUBORDINATE_UID, 1000)})

    def test_buffers_in_the_file_descriptor_store_are_charged(self):
        """systemd keeps them while it restarts the unit; they are free when the unit stops."""
        name = "test-store.service"
        self.unit(name, "python3", "-c", STORE_ONCE, FileDescriptorStoreMax="5", NotifyAccess="all", Type="notify",
                  WorkingDirectory=os.getcwd(), Environment="PYTHONPATH=" + os.getcwd())
        self.assertEqual(vmtest.unit_property(name, "NFileDescriptorStore"), "1")
        vmtest.systemctl("restart", name)
        self.assertEqual(vmtest.unit_property(name, "NFileDescriptorStore"), "1")
        evader = self.client(unit_cgroup(name), user="root")
        self.assert_full(evader, name=name)
        vmtest.stop_unit(name)
        self.assertEqual(self.usage(evader), (0, 0))

    def test_a_connection_counts_for_the_process_that_made_it(self):
        """That process has ended, and another one uses its connection."""
        self.cgroup(SCOPE)
        peer, connection = self.connected_peer(cgroup=SCOPE)
        self.assertIsNone(connection.call("ListHeaps").error)
        peer.child.kill()
        os.waitpid(peer.child.pid, 0)
        self.allocate(connection, LIMIT)
        self.assert_full(connection)
        self.assert_full(self.client(SCOPE))


# A service that allocates and stores its buffer with systemd at its first start, and keeps the stored one at the next.
STORE_ONCE = f"""
import os, signal, socket, vmtest
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
if "LISTEN_FDS" not in os.environ:
    reply = vmtest.allocate(size={LIMIT})
    socket.send_fds(notify, [b"FDSTORE=1"], reply.fds)
    vmtest.close_fds(reply.fds)
notify.send(b"READY=1")
signal.pause()
"""


class InSocket:
    """A file descriptor that only a socket holds."""

    def __init__(self, fd):
        self.pair = socket.socketpair()
        socket.send_fds(self.pair[0], [b"x"], [fd])
        os.close(fd)

    def close(self):
        for end in self.pair:
            end.close()


def receive_and_wait(sock):
    _, fds, _, _ = socket.recv_fds(sock, 1, 1)
    sock.send(b"x")
    signal.pause()
    return fds


def vgem():
    """An open file descriptor of vgem's device node."""
    for name in sorted(os.listdir("/sys/class/drm")):
        if name.startswith("card") and "vgem" in os.path.realpath("/sys/class/drm/" + name):
            vmtest.wait_until(lambda: os.path.exists("/dev/dri/" + name), what="the device node")
            return os.open("/dev/dri/" + name, os.O_RDWR | os.O_CLOEXEC)
    raise AssertionError("no vgem")


def enter_namespace(uid):
    """Becomes that uid in a new user namespace of user1, in which 0 is user1 and 1 is the first subordinate uid."""
    pid = os.getpid()
    unshared, tell = os.pipe()
    root = os.fork()
    if root == 0:
        os.read(unshared, 1)
        for name in ("uid_map", "gid_map"):  # as newuidmap does, which is setuid root
            with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
                file.write(f"0 1000 1\n1 {SUBORDINATE_UID} 65536\n")
        os._exit(0)
    vmtest.become("user1")
    os.unshare(os.CLONE_NEWUSER)
    os.write(tell, b"x")
    if os.waitpid(root, 0)[1] != 0:
        raise AssertionError("no uid_map")
    os.setresuid(uid, uid, uid)


if __name__ == "__main__":
    vmtest.main()
