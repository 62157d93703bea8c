#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M"
"""The daemon knows its clients, and serves only those who may ask, and only heaps."""

import os
import pwd
import re
import shutil
import stat

import vmtest
from daemontest import (DEADLINE, INVALID_PARAMETER, DaemonTest, configure, daemon_pid, daemon_stopped,
                        unit_cgroup, worker_pids)

SETUID_PROGRAM = "/usr/bin/setuid-sleep"  # /run is mounted nosuid


def modules():
    with open("/proc/modules", encoding="ascii") as file:
        return {line.split()[0] for line in file}


def proc(pid, name):
    with open(f"/proc/{pid}/{name}", encoding="utf-8") as file:
        return file.read()


def effective_uid(pid):
    return int(re.search(r"^Uid:\s+\d+\s+(\d+)", proc(pid, "status"), re.MULTILINE)[1])


class Outsider(DaemonTest):
    def test_an_outsider_cannot_connect(self):
        self.assertNotIn("outsider", vmtest.group_members("dmaheap"))
        with self.assertRaises(PermissionError):
            vmtest.as_user("outsider", vmtest.allocate)

    def test_only_root_may_open_the_heaps_nodes(self):
        for name in ("system", "default_cma_region"):
            with self.subTest(name=name):
                vmtest.close_fds(vmtest.allocate(heap=name, size=1).fds)
                info = os.stat("/dev/dma_heap/" + name)
                self.assertEqual((info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)), (0, 0, 0o600))

    def test_the_socket_is_for_its_group(self):
        info = os.stat(vmtest.SOCKET)
        self.assertEqual((info.st_uid, stat.S_IMODE(info.st_mode)), (0, 0o660))
        self.assertEqual(os.readlink("/run/varlink/registry/" + vmtest.INTERFACE), vmtest.SOCKET)


class Names(DaemonTest):
    """No name makes the daemon load a module that is not declared as a heap."""

    def ask(self, **name):
        before = modules()
        reply = vmtest.as_user("user1", ask_for, name)
        self.assertEqual(modules(), before)
        return reply

    def test_impossible_names_are_refused(self):
        for name in ("/", "../vivid", "a/b", "..", ".", ".hidden", "", "a\nb", "vivid\n", "\n", "x" * 65, "x" * 300,
                     "a b", "a*", "*", "[a-z]", "a:b", "dma-heap:system", "a;b", "$(id)", "%s%n", "ä", "\x7f",
                     "system "):
            for kind in ("heap", "role"):
                with self.subTest(kind=kind, name=name):
                    self.assert_error(self.ask(**{kind: name}), INVALID_PARAMETER, parameter=kind)

    def test_a_name_with_a_nul_is_refused(self):
        """JSON can have one in a string, C cannot."""
        with vmtest.Varlink() as connection:
            connection.send("Allocate", {"heap": "system\0", "size": 1})
            try:
                self.assert_error(connection.receive(), INVALID_PARAMETER)
            except vmtest.ConnectionClosed:
                pass
        self.assert_others_served()

    def test_unknown_names_are_no_such_heap_and_load_nothing(self):
        # Among them are modules that exist, an alias, and the longest valid name.
        vmtest.run("modinfo", "vivid")
        for name in ("vivid", "cma_heap", "system_heap", "snd-card-0", "x" * 64, "a..b", "A-Z.a_z,0@9+"):
            with self.subTest(name=name):
                self.assert_error(self.ask(heap=name), "NoSuchHeap", heap=name)
                self.assert_error(self.ask(role=name), "NoSuchHeap", role=name)
        self.assertFalse(vmtest.module_loaded("vivid"))

    def test_a_roles_name_is_no_heaps_name(self):
        self.assert_error(self.ask(heap="system", role="system"), INVALID_PARAMETER)
        self.assert_error(self.ask(heap="contiguous"), "NoSuchHeap", heap="contiguous")

    def test_a_role_without_heaps_is_no_such_heap(self):
        self.assert_error(self.ask(role="protected"), "NoSuchHeap", role="protected")


def ask_for(name):
    return vmtest.allocate(size=1, **name)


class Peers(DaemonTest):
    """Some of these peers connect while the daemon stands still: it looks at them only after they have changed."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        shutil.copy("/usr/bin/sleep", SETUID_PROGRAM)
        os.chmod(SETUID_PROGRAM, 0o4755)

    def test_a_peer_that_executes_a_setuid_program_keeps_its_identity(self):
        with daemon_stopped():
            peer, connection = self.connected_peer(then=[SETUID_PROGRAM, "infinity"])
            vmtest.wait_until(lambda: effective_uid(peer.child.pid) == 0, DEADLINE, "the peer has become root")
        self.assert_served(connection.call("Allocate", {"size": 4096}))
        clients = vmtest.call("ListClients")
        self.assertIsNone(clients.error, clients)
        mine = [(client["uid"], client["user"]) for client in clients["clients"] if client["usage"]["buffersUsed"] == 1]
        self.assertEqual(mine, [(1000, 1000)])
        # So it may not call what is for root only.
        self.assert_error(connection.call("ListClients"), "org.varlink.service.PermissionDenied")

    def test_a_peer_that_has_exited_before_it_was_looked_at_is_refused(self):
        for reaped in (True, False):
            with self.subTest(reaped=reaped):
                with daemon_stopped():
                    peer, connection = self.connected_peer(then="exit")
                    os.waitid(os.P_PID, peer.child.pid, os.WEXITED | (0 if reaped else os.WNOWAIT))
                with self.assertRaises(vmtest.ConnectionClosed):
                    connection.call("Allocate", {"size": 4096})
        self.assert_others_served()

    def test_a_peer_that_exits_later_has_been_identified(self):
        """The daemon identifies a peer once, when it connects. Another process that holds the connection may go on."""
        peer, connection = self.connected_peer()
        self.assertIsNone(connection.call("ListHeaps").error)
        peer.child.kill()
        os.waitpid(peer.child.pid, 0)
        self.assert_served(connection.call("Allocate", {"size": 4096}))

    def test_a_peer_whose_control_group_is_gone_gets_no_buffers(self):
        unit = "test-gone.service"
        vmtest.start_unit(unit, "sleep", "infinity")
        peer, connection = self.connected_peer(cgroup=unit_cgroup(unit))
        self.assertIsNone(connection.call("ListHeaps").error)
        peer.child.kill()
        path = "/sys/fs/cgroup" + unit_cgroup(unit)
        vmtest.stop_unit(unit)
        vmtest.wait_until(lambda: not os.path.exists(path), DEADLINE, "the control group is gone")
        self.assert_error(connection.call("Allocate", {"size": 4096}), "OutOfResources", resource="cgroup")
        self.assert_others_served()

    def test_a_peer_without_device_nodes_is_served(self):
        script = ("import os, vmtest\n"
                  "assert not os.path.exists('/dev/dma_heap')\n"
                  "for role in 'system', 'contiguous':\n"
                  "    reply = vmtest.allocate(role=role, size=1 << 20)\n"
                  "    print(reply.error, vmtest.fdinfo(reply.fds[0])['exp_name'])\n")
        said = vmtest.run_in_unit("test-private.service", "python3", "-c", script, user="user1", PrivateDevices="yes",
                                  DevicePolicy="closed", WorkingDirectory=os.getcwd(),
                                  Environment="PYTHONPATH=" + os.getcwd())
        self.assertEqual(said, "None system\nNone default_cma_region\n")

    def test_a_worker_is_in_its_clients_control_group(self):
        unit = "test-place.service"
        vmtest.start_unit(unit, "sleep", "infinity")
        self.addCleanup(vmtest.stop_unit, unit)
        cgroup = unit_cgroup(unit)
        _, connection = self.connected_peer(cgroup=cgroup)
        self.assertEqual(self.look_at_worker(connection, lambda pid: (proc(pid, "cgroup"), proc(pid, "oom_score_adj"))),
                         (f"0::{cgroup}\n", "1000\n"))

    def test_a_worker_has_no_privileges(self):
        with vmtest.Varlink() as connection:
            status, n_fds = self.look_at_worker(connection, lambda pid: (proc(pid, "status"), vmtest.n_fds(pid)))
        status = dict(line.split(":\t", 1) for line in status.splitlines())
        user = pwd.getpwnam("dmaheapd-worker")
        self.assertEqual(status["Uid"].split(), [str(user.pw_uid)] * 4)
        self.assertEqual(status["Gid"].split(), [str(user.pw_gid)] * 4)
        self.assertEqual(status["Groups"].strip(), "")
        self.assertEqual({status[name].strip("0") for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")}, {""})
        self.assertEqual((status["NoNewPrivs"], status["Seccomp"]), ("1", "2"))
        # They are its socket, and a buffer and a device that it may not have closed yet.
        self.assertLessEqual(n_fds, 3)


class Frozen(DaemonTest):
    """A client whose control group is frozen delays no other client."""

    UNIT = "test-frozen.service"

    def frozen_client(self, config=""):
        """The connection of a client in a frozen control group, whose request has a worker that cannot run."""
        configure(config)
        vmtest.start_unit(self.UNIT, "sleep", "infinity")
        self.addCleanup(vmtest.stop_unit, self.UNIT)
        _, connection = self.connected_peer(cgroup=unit_cgroup(self.UNIT))
        self.assertIsNone(connection.call("ListHeaps").error)
        vmtest.systemctl("freeze", self.UNIT)
        # This cleanup is added last, so it runs first: systemd cannot stop a frozen unit.
        self.addCleanup(self.thaw)
        connection.send("Allocate", {"size": 4096})
        vmtest.wait_until(worker_pids, DEADLINE, "there is a worker")
        return connection

    def thaw(self):
        vmtest.systemctl("thaw", self.UNIT)

    def test_its_request_completes_when_it_is_thawed(self):
        connection = self.frozen_client("[Daemon]\nAllocationTimeoutSec=10min\n")
        for _ in range(5):
            self.assert_others_served()
        connection.socket.setblocking(False)
        with self.assertRaises(BlockingIOError):
            connection.socket.recv(1)
        connection.socket.settimeout(DEADLINE)
        self.thaw()
        self.assert_served(connection.receive())

    def test_its_request_times_out(self):
        connection = self.frozen_client("[Daemon]\nAllocationTimeoutSec=2s\n")
        self.assert_others_served()
        self.assert_error(connection.receive(), "TimedOut", heap="system")
        # SIGKILL ends a frozen process.
        vmtest.wait_until(lambda: not worker_pids(), DEADLINE, "the worker is gone")
        self.thaw()
        self.assert_served(connection.call("Allocate", {"size": 4096}))

    def test_its_worker_ends_when_it_disconnects(self):
        connection = self.frozen_client("[Daemon]\nAllocationTimeoutSec=10min\n")
        pid = daemon_pid()
        connection.close()
        vmtest.wait_until(lambda: not worker_pids(), DEADLINE, "the worker is gone")
        self.assert_others_served()
        self.assertEqual(daemon_pid(), pid)


if __name__ == "__main__":
    vmtest.main()
