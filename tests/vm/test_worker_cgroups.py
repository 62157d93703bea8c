#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M dma_heap.mem_accounting=1" timeout=900
"""Clients in control groups of every kind: each gets its buffer or the documented error, and holds up nobody."""

import contextlib
import os
import signal

import vmtest
from accountingtest import CGROUPS, MIB, daemon_buffers
from daemontest import DEADLINE, configure, daemon_pid, spawner_pid, unit_cgroup, worker_pids
from workertest import WorkerTest, charged, freeze, processes, status, thaw, write

UNIT = "test-place.service"
SCOPE = "/test-place.scope"


def cgroup_of(pid):
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        return file.read().strip().removeprefix("0::")


def enable(cgroup, *controllers):
    write(cgroup, "cgroup.subtree_control", " ".join("+" + name for name in controllers))


class Places(WorkerTest):
    def assert_served_in(self, connection, cgroup):
        self.assertEqual(self.look_at_worker(connection, cgroup_of), cgroup)

    def test_delegated_to_the_client(self):
        cgroup = self.unit(UNIT, Delegate="yes", User="user1")
        self.assertEqual(os.stat(CGROUPS + cgroup).st_uid, 1000)
        self.assert_served_in(self.client(cgroup), cgroup)

    def test_made_by_the_client(self):
        cgroup = self.unit(UNIT, Delegate="yes", User="user1")
        nested = cgroup + "/mine"
        vmtest.as_user("user1", os.mkdir, CGROUPS + nested)
        connection = self.client(nested)
        self.assert_served_in(connection, nested)
        # It is the unit all the same.
        (fd,) = self.allocate(connection, 4096)
        self.assertIn(os.fstat(fd).st_ino, daemon_buffers(unit=UNIT))

    def test_deep(self):
        cgroup = SCOPE
        self.cgroup(cgroup)
        for _ in range(40):
            cgroup = self.cgroup(cgroup + "/deeper")
        self.assert_served_in(self.client(cgroup), cgroup)

    def test_controllers_for_children(self):
        """Such a one holds no process. Its client was in it when it connected, and its connection cannot follow it."""
        outer, inner = self.cgroup(SCOPE), self.cgroup(SCOPE + "/inner")
        peer, connection = self.connected_peer(cgroup=outer, then=["/usr/bin/sleep", "infinity"])
        self.assert_served_in(connection, outer)
        self.assert_no_worker(outer)
        write(inner, "cgroup.procs", peer.child.pid)
        enable(outer, "memory")
        for _ in range(3):
            self.assert_error(connection.call("Allocate", {"size": 4096}), "OutOfResources", resource="cgroup")
        self.assert_served_in(self.client(inner), inner)
        self.assert_no_worker(inner)
        write(outer, "cgroup.subtree_control", "-memory")
        self.assert_served_in(connection, outer)

    def test_at_its_limit_of_processes(self):
        cgroup = self.unit(UNIT, TasksMax=2)
        connection = self.client(cgroup)
        self.assertEqual(len(processes(cgroup)), 2)
        for _ in range(3):
            self.assert_error(connection.call("Allocate", {"size": 4096}), "OutOfResources", resource="processes")
            self.assert_others_served()
        write(cgroup, "pids.max", 3)
        self.assert_served_in(connection, cgroup)

    def test_throttled(self):
        """It takes its time, which is its own."""
        enable("", "cpu")
        cgroup = self.cgroup(SCOPE)
        connection = self.client(cgroup)
        write(cgroup, "cpu.max", "1000 100000")
        for _ in range(2):
            connection.send("Allocate", {"size": 4096})
            self.assert_others_served()
            reply = connection.receive()
            self.assertIn(reply.error, (None, "TimedOut"), reply)
            vmtest.close_fds(reply.fds)
            print("# throttled:", reply.error)
        write(cgroup, "cpu.max", "max")
        self.assert_served_in(connection, cgroup)

    def test_threaded(self):
        domain, threaded = self.cgroup(SCOPE), self.cgroup(SCOPE + "/threads")
        write(threaded, "cgroup.type", "threaded")
        connection = self.client(threaded)
        self.assert_served_in(connection, threaded)
        # The memory is the domain's.
        before = charged(domain)
        (fd,) = self.allocate(connection, 16 * MIB)
        self.assertAlmostEqual(charged(domain) - before, 16 * MIB, delta=MIB // 2)
        os.close(fd)

    def test_invalid_domain(self):
        """It held processes, was emptied, and its neighbour became a threaded one."""
        domain, mine, threaded = self.cgroup(SCOPE), self.cgroup(SCOPE + "/mine"), self.cgroup(SCOPE + "/threads")
        peer, connection = self.connected_peer(cgroup=mine, then=["/usr/bin/sleep", "infinity"])
        self.assert_served_in(connection, mine)
        write("", "cgroup.procs", peer.child.pid)
        vmtest.wait_until(lambda: not processes(mine), DEADLINE, "the worker has gone")
        write(threaded, "cgroup.type", "threaded")
        with open(f"{CGROUPS}{mine}/cgroup.type", encoding="ascii") as file:
            self.assertEqual(file.read(), "domain invalid\n")
        self.assertTrue(os.path.exists(CGROUPS + domain))
        self.assert_error(connection.call("Allocate", {"size": 4096}), "OutOfResources", resource="cgroup")
        self.assert_others_served()

    def test_moved_meanwhile(self):
        """A connection is that of the control group in which it was made, for as long as that is there."""
        old, new = self.cgroup(SCOPE), self.cgroup("/test-new.scope")
        peer, connection = self.connected_peer(cgroup=old, then=["/usr/bin/sleep", "infinity"])
        self.assert_served_in(connection, old)
        write(new, "cgroup.procs", peer.child.pid)
        self.assert_served_in(connection, old)
        vmtest.wait_until(lambda: not os.path.exists(CGROUPS + old) or not processes(old), DEADLINE, "the worker has gone")
        os.rmdir(CGROUPS + old)
        self.assert_error(connection.call("Allocate", {"size": 4096}), "OutOfResources", resource="cgroup")
        self.assert_served_in(self.client(new), new)

    def test_namespaces(self):
        """The client sees itself as root of a hierarchy of its own; the daemon sees who it is."""
        script = ("import os, signal, vmtest\n"
                  "assert os.getuid() == 0 and open('/proc/self/cgroup').read() == '0::/\\n'\n"
                  "reply = vmtest.allocate(size=1 << 20)\n"
                  "assert reply.error is None, reply\n"
                  "print('done', flush=True)\n"
                  "signal.pause()\n")
        cgroup = self.unit(UNIT, "unshare", "--user", "--map-root-user", "--cgroup", "python3", "-c", script, User="user1",
                           PrivateDevices="yes", WorkingDirectory=os.getcwd(), Environment="PYTHONPATH=" + os.getcwd())
        (mine,) = vmtest.wait_until(lambda: vmtest.call("ListBuffers", unit=UNIT)["buffers"], DEADLINE, "the unit has a buffer")
        self.assertEqual((mine["uid"], mine["user"], mine["cgroup"], mine["size"]), (1000, 1000, cgroup, MIB))
        self.assertNotEqual(os.readlink(f"/proc/{vmtest.unit_pid(UNIT)}/ns/user"), os.readlink("/proc/self/ns/user"))


class Frozen(WorkerTest):
    """What else happens to a request that stands still. That others are served, and that it completes, is tested by
    test_daemon_identity.py."""

    def frozen_request(self, **parameters):
        cgroup = self.frozen_cgroup(SCOPE)
        connection = self.client(cgroup)
        (fd,) = self.allocate(connection, 3 * 4096)
        self.second = self.client(cgroup)  # none can connect when it is frozen
        self.assert_no_worker(cgroup)
        freeze(cgroup)
        worker = self.begin(connection, cgroup, **parameters)
        return cgroup, connection, worker, os.fstat(fd).st_ino

    def test_killed_with_the_control_group(self):
        """cgroup.kill: the request ends, what the client holds stays charged, and the rest of the daemon is as it was."""
        cgroup, connection, worker, inode = self.frozen_request(count=5)
        pid = daemon_pid()
        write(cgroup, "cgroup.kill", 1)
        self.assert_error(connection.receive(), "OutOfResources", resource="processes")
        self.assertFalse(os.path.exists(f"/proc/{worker}"))
        self.assertEqual(daemon_buffers(), {inode: 3 * 4096})
        self.assertEqual(self.usage(connection), (3 * 4096, 1))
        thaw(cgroup)
        self.use(connection)
        self.assertEqual(daemon_pid(), pid)
        self.assert_others_served()

    def test_killed_with_the_spawner(self):
        """The request ends with it, and the one that waited has another worker, of another spawner."""
        cgroup, connection, worker, inode = self.frozen_request(count=5)
        self.second.send("Allocate", {"size": 4096})
        spawner = spawner_pid()
        os.kill(spawner, signal.SIGKILL)
        self.assert_error(connection.receive(), "OutOfResources", resource="processes")
        self.assertFalse(os.path.exists(f"/proc/{worker}"))
        self.assertEqual(daemon_buffers(), {inode: 3 * 4096})
        self.assert_others_served()
        self.assertNotEqual(spawner_pid(), spawner)
        thaw(cgroup)
        print("# the one that waited:", reply := self.second.receive())
        vmtest.close_fds(reply.fds)
        self.use(connection)

    def test_several_connections_of_one_client(self):
        """They wait for one another, in their order, and no other client waits."""
        cgroup, connection, worker, _ = self.frozen_request()
        self.second.send("Allocate", {"size": 4096})
        self.assert_others_served()
        self.assertEqual(set(worker_pids()) & set(processes(cgroup)), {worker})
        thaw(cgroup)
        for each in (connection, self.second):
            vmtest.close_fds(self.assert_no_error(each.receive()).fds)

    def assert_no_error(self, reply):
        self.assertIsNone(reply.error, reply)
        return reply

    def test_idle_worker_of_a_client_that_leaves(self):
        """Frozen, it does not see the end of its socket."""
        cgroup = self.frozen_cgroup(SCOPE)
        connection = self.client(cgroup)
        for _ in range(20):
            self.use(connection)
            worker = next((pid for pid in worker_pids() if pid in processes(cgroup)), None)
            freeze(cgroup)
            if worker and os.path.exists(f"/proc/{worker}"):
                break
            thaw(cgroup)
        connection.close()
        self.assert_no_worker(cgroup)
        self.assertFalse(os.path.exists(f"/proc/{worker}"))

    def test_deadline(self):
        """Of the requests of one client, which are each its own."""
        configure(self.CONFIG.replace("[Daemon]\n", "[Daemon]\nAllocationTimeoutSec=10s\n"))
        self.addCleanup(configure, self.CONFIG)
        cgroup, connection, _, _ = self.frozen_request(size=MIB)
        self.assert_error(self.second.call("Allocate", {"size": 4096}), "TimedOut", heap="system")
        self.assert_error(connection.receive(), "TimedOut", heap="system")
        self.assertEqual(self.usage(connection), (3 * 4096, 1))
        self.assert_no_worker(cgroup)
        thaw(cgroup)
        self.use(connection)


class Units(WorkerTest):
    """What systemd does with the control group of a client."""

    def test_a_scope_ends_with_its_last_process(self):
        """Which a worker is not, though the connection lives on."""
        name = "test-session.scope"
        with contextlib.ExitStack() as stack:
            shell = vmtest.Child(os.execvp, "systemd-run",
                                 ["systemd-run", "--quiet", "--scope", "--unit", name, "sleep", "infinity"])
            stack.callback(os.close, shell.read_fd)
            stack.callback(os.waitpid, shell.pid, 0)
            stack.callback(shell.kill)
            cgroup = vmtest.wait_until(lambda: unit_cgroup(name), DEADLINE, "the scope is there")
            peer, connection = self.connected_peer(cgroup=cgroup, then=["/usr/bin/sleep", "infinity"])
            self.assertEqual(self.look_at_worker(connection, cgroup_of), cgroup)
            self.use(connection)
            peer.child.kill()
        vmtest.wait_until(lambda: vmtest.unit_property(name, "ActiveState") == "inactive", DEADLINE, "the scope has ended")

    def test_stopped_with_a_request_in_hand(self):
        """systemd's SIGTERM is for the worker, too."""
        cgroup = self.unit(UNIT)
        connection = self.client(cgroup)
        pid = daemon_pid()
        worker = self.look_at_worker(connection, lambda each: each)
        self.assertEqual(int(status(worker)["SigBlk"], 16) | int(status(worker)["SigIgn"], 16) & 1 << signal.SIGTERM - 1, 0)
        connection.send("Allocate", {"size": 64 * MIB, "count": 4})
        vmtest.stop_unit(UNIT)
        reply = connection.receive()
        vmtest.close_fds(reply.fds)
        self.assertIn((reply.error, reply.parameters.get("resource")),
                      ((None, None), ("OutOfResources", "processes"), ("OutOfResources", "cgroup")))
        self.assertEqual(vmtest.unit_property(UNIT, "Result"), "success")
        vmtest.wait_until(lambda: not os.path.exists(CGROUPS + cgroup), DEADLINE, "the control group is gone")
        self.assertEqual(daemon_pid(), pid)
        self.assert_others_served()


if __name__ == "__main__":
    vmtest.main()
