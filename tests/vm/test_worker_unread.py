#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" timeout=900
"""Descriptors that are under way: what clients do not read, and what workers cannot send, is nobody else's loss."""

import os
import resource

import vmtest
from daemontest import DEADLINE, daemon_pid, daemon_stopped, process_state, spawner_pid
from workertest import WorkerTest, freeze, processes, thaw

PAGE = 4096


class Unread(WorkerTest):
    N_CLIENTS = 5

    def clients(self, count):
        return [self.client(self.cgroup(f"/test-{number}.scope")) for number in range(count)]

    def test_five_clients_that_never_read(self):
        """What one reply can carry, each, and as much again as its buffers may be."""
        connections = self.clients(self.N_CLIENTS)
        for rounds in range(1, 4):
            expected = len(vmtest.live_buffers()) + 253 * self.N_CLIENTS
            for connection in connections:
                connection.send("Allocate", {"size": PAGE, "count": 253})
            vmtest.wait_until(lambda: len(vmtest.live_buffers()) == expected, DEADLINE, f"everybody has {rounds} replies to read")
            for _ in range(10):
                self.assert_others_served()
        # 1024 buffers is what a client may have: the rest is refused, to it alone.
        for connection in connections:
            connection.send("Allocate", {"size": PAGE, "count": 253 + 13})
            connection.send("Allocate", {"size": PAGE, "count": 253})
            connection.send("Allocate", {"size": PAGE, "count": 253})
        self.assert_others_served()
        for connection in connections:
            replies = [connection.receive() for _ in range(6)]
            for reply in replies:
                vmtest.close_fds(reply.fds)
            self.assertEqual([reply.error and reply.error.rpartition(".")[2] for reply in replies[:5]],
                             [None, None, None, "InvalidParameter", None])
            self.assertEqual([len(reply.fds) for reply in replies[:3]], [253] * 3)

    def test_too_many_in_flight(self):
        """ETOOMANYREFS: workers may have no more descriptors under way than one of them may have open. Whose is one too many
        is told so, and nobody else."""
        daemon_pid()
        # What workers inherit; the daemon must be able to have all that they send.
        limits = resource.prlimit(spawner_pid(), resource.RLIMIT_NOFILE, (700, 700))
        self.addCleanup(resource.prlimit, spawner_pid(), resource.RLIMIT_NOFILE, limits)
        cgroups = [self.frozen_cgroup(f"/test-{number}.scope") for number in range(4)]
        connections = [self.client(cgroup) for cgroup in cgroups]
        for connection in connections:
            self.use(connection)
        before = len(vmtest.live_buffers())
        for cgroup, connection in zip(cgroups, connections):
            self.assert_no_worker(cgroup)
            freeze(cgroup)
            self.begin(connection, cgroup, count=253)
        pid = daemon_pid()
        self.assert_others_served()
        with daemon_stopped():
            # One after the other: each has sent what it has when it waits again.
            for number, cgroup in enumerate(cgroups):
                (worker,) = (each for each in processes(cgroup) if is_worker(each))
                thaw(cgroup)
                vmtest.wait_until(lambda: waits(worker), DEADLINE, "the worker waits for another request")
                self.assertEqual(len(vmtest.live_buffers()) - before, min(number + 1, 3) * 253)
        replies = [self.close_later(connection.receive()) for connection in connections]
        self.assertEqual([reply.error for reply in replies], [None, None, None, "OutOfResources"])
        self.assertEqual(replies[3]["resource"], "inFlight")
        for reply in replies:
            vmtest.close_fds(reply.fds)
            reply.fds.clear()
        self.use(connections[3], count=253)
        self.assert_others_served()
        self.assertEqual(daemon_pid(), pid)


def is_worker(pid):
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().startswith(b"dmaheapd-")


def waits(pid):
    """Whether a worker that was thawed has done all it had to: it sleeps, and holds its socket only."""
    with open(f"/proc/{pid}/comm", encoding="ascii") as file:
        began = file.read() == "dmaheapd-worker\n"
    return began and process_state(pid) == "S" and os.listdir(f"/proc/{pid}/fd") == ["0"]


if __name__ == "__main__":
    vmtest.main()
