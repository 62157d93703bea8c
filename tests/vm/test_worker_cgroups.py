#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M dma_heap.mem_accounting=1" timeout=900
"""Clients in control groups of every kind get their buffer or the documented error, and delay no other client."""

import contextlib
import os
import signal

import vmtest
from accountingtest import CGROUPS, MIB, daemon_buffers
from daemontest import DEADLINE, configure, daemon_pid, spawner_pid, unit_cgroup, worker_pids
from workertest import WorkerTest, charged, freeze, keyed, processes, status, thaw, write

UNIT = "test-place.service"
SCOPE = "/test-place.scope"


def cgroup_of(pid):
    with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
        return file.read().strip().removeprefix("0::")


def enable(cgroup, *controllers):
    write(cgroup, "cgroup.subtree_control", " ".join("+" + name for name in controllers))


class Places(WorkerTest):
    """Each test is about one kind of control group that a client may be in."""

    def assert_served_in(self, connection, cgroup):
        self.assertEqual(self.look_at_worker(connection, cgroup_of), cgroup)

    def test_a_delegated_control_group(self):
        cgroup = self.unit(UNIT, Delegate="yes", User="user1")
        self.assertEqual(os.stat(CGROUPS + cgroup).st_uid, 1000)
        self.assert_served_in(self.client(cgroup), cgroup)

    def test_a_control_group_made_by_the_client(self):
        cgroup = self.unit(UNIT, Delegate="yes", User="user1")
        nested = cgroup + "/mine"
        vmtest.as_user("user1", os.mkdir, CGROUPS + nested)
        connection = self.client(nested)
        self.assert_served_in(connection, nested)
        # It belongs to the unit all the same.
        (fd,) = self.allocate(connection, 4096)
        self.assertIn(os.fstat(fd).st_ino, daemon_buffers(unit=UNIT))

    def test_a_control_group_40_levels_deep(self):
        cgroup = SCOPE
        self.cgroup(cgroup)
        for _ in range(40):
            cgroup = self.cgroup(cgroup + "/deeper")
        self.assert_served_in(self.client(cgroup), cgroup)

    def test_a_control_group_that_may_hold_no_process(self):
        """A control group with controllers for its children holds no process, so no worker either.

        Its client was in it when it connected, and has moved; the connection stays with the first control group."""
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

    def test_a_control_group_at_its_limit_of_processes(self):
        cgroup = self.unit(UNIT, TasksMax=2)
        connection = self.client(cgroup)
        self.assertEqual(len(processes(cgroup)), 2)
        for _ in range(3):
            self.assert_error(connection.call("Allocate", {"size": 4096}), "OutOfResources", resource="processes")
            self.assert_others_served()
        write(cgroup, "pids.max", 3)
        self.assert_served_in(connection, cgroup)

    def test_a_throttled_control_group(self):
        """The request is slow, but other clients do not wait."""
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

    def test_a_threaded_control_group(self):
        domain, threaded = self.cgroup(SCOPE), self.cgroup(SCOPE + "/threads")
        write(threaded, "cgroup.type", "threaded")
        connection = self.client(threaded)
        self.assert_served_in(connection, threaded)
        # A threaded control group has no memory controller: its domain is charged.
        before = charged(domain)
        (fd,) = self.allocate(connection, 16 * MIB)
        self.assertAlmostEqual(charged(domain) - before, 16 * MIB, delta=MIB // 2)
        os.close(fd)

    def test_an_invalid_domain(self):
        """The client has left the control group, and then a sibling became threaded, which makes this one invalid."""
        domain, mine, threaded = self.cgroup(SCOPE), self.cgroup(SCOPE + "/mine"), self.cgroup(SCOPE + "/threads")
        peer, connection = self.connected_peer(cgroup=mine, then=["/usr/bin/sleep", "infinity"])
        self.assert_served_in(connection, mine)
        write("", "cgroup.procs", peer.child.pid)
        # cgroup.procs does not list the worker any more a moment before the kernel lets its neighbour become threaded.
        vmtest.wait_until(lambda: keyed(mine, "cgroup.events")["populated"] == 0, DEADLINE, "the worker has gone")
        write(threaded, "cgroup.type", "threaded")
        with open(f"{CGROUPS}{mine}/cgroup.type", encoding="ascii") as file:
            self.assertEqual(file.read(), "domain invalid\n")
        self.assertTrue(os.path.exists(CGROUPS + domain))
        self.assert_error(connection.call("Allocate", {"size": 4096}), "OutOfResources", resource="cgroup")
        self.assert_others_served()

    def test_a_connection_stays_with_the_control_group_it_was_made_in(self):
        """The client moves to another control group, and later the first one is removed."""
        old, new = self.cgroup(SCOPE), self.cgroup("/test-new.scope")
        peer, connection = self.connected_peer(cgroup=old, then=["/usr/bin/sleep", "infinity"])
        self.assert_served_in(connection, old)
        write(new, "cgroup.procs", peer.child.pid)
        self.assert_served_in(connection, old)
        vmtest.wait_until(lambda: not os.path.exists(CGROUPS + old) or not processes(old), DEADLINE,
                          "the worker has gone")
        os.rmdir(CGROUPS + old)
        self.assert_error(connection.call("Allocate", {"size": 4096}), "OutOfResources", resource="cgroup")
        self.assert_served_in(self.client(new), new)

    def test_a_client_in_namespaces_of_its_own(self):
        """The client is root there and sees only '/' as its control group; the daemon knows its real identity."""
        script = ("import os, signal, vmtest\n"
                  "assert os.getuid() == 0 and open('/proc/self/cgroup').read() == '0::/\\n'\n"
                  "reply = vmtest.allocate(size=1 << 20)\n"
                  "assert reply.error is None, reply\n"
                  "print('done', flush=True)\n"
                  "signal.pause()\n")
        cgroup = self.unit(UNIT, "unshare", "--user", "--map-root-user", "--cgroup", "python3", "-c", script,
                           User="user1", PrivateDevices="yes", WorkingDirectory=os.getcwd(),
                           Environment="PYTHONPATH=" + os.getcwd())
        (mine,) = vmtest.wait_until(lambda: vmtest.call("ListBuffers", unit=UNIT)["buffers"], DEADLINE,
                                    "the unit has a buffer")
        self.assertEqual((mine["uid"], mine["user"], mine["cgroup"], mine["size"]), (1000, 1000, cgroup, MIB))
        self.assertNotEqual(os.readlink(f"/proc/{vmtest.unit_pid(UNIT)}/ns/user"), os.readlink("/proc/self/ns/user"))


class Frozen(WorkerTest):
    """A request that stands still can be ended in several ways.

    test_daemon_identity.py tests that others are served meanwhile, and that the request completes when it is thawed."""

    def frozen_request(self, **parameters):
        cgroup = self.frozen_cgroup(SCOPE)
        connection = self.client(cgroup)
        (fd,) = self.allocate(connection, 3 * 4096)
        self.second = self.client(cgroup)  # nothing in a frozen control group could connect
        self.assert_no_worker(cgroup)
        freeze(cgroup)
        worker = self.begin(connection, cgroup, **parameters)
        return cgroup, connection, worker, os.fstat(fd).st_ino

    def test_cgroup_kill_ends_the_request_and_keeps_the_charges(self):
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

    def test_the_end_of_the_spawner_ends_the_request(self):
        """The request that waited behind it gets another worker, from another spawner."""
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

    def test_requests_of_one_client_wait_for_one_another(self):
        """They are served in their order, and no other client waits."""
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

    def test_the_idle_worker_of_a_client_that_disconnects_is_killed(self):
        """It is frozen, so it cannot notice the end of its socket."""
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

    def test_each_request_of_a_client_has_its_own_deadline(self):
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
    """systemd ends the unit of a client."""

    def test_a_worker_does_not_keep_a_scope_alive(self):
        """The connection lives on, but the last process of the scope has ended."""
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
        vmtest.wait_until(lambda: vmtest.unit_property(name, "ActiveState") == "inactive", DEADLINE,
                          "the scope has ended")

    def test_a_unit_can_be_stopped_with_a_request_in_progress(self):
        """systemd sends SIGTERM to the worker, too, which does not block or ignore it."""
        cgroup = self.unit(UNIT)
        connection = self.client(cgroup)
        pid = daemon_pid()
        worker = self.look_at_worker(connection, lambda each: each)
        self.assertEqual(int(status(worker)["SigBlk"], 16)
                         | int(status(worker)["SigIgn"], 16) & 1 << signal.SIGTERM - 1, 0)
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
