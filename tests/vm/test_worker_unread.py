#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" timeout=900
"""File descriptors in flight: replies that clients do not read, or that workers cannot send, affect no other client."""

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

    def test_clients_that_never_read_delay_no_others(self):
        """Five clients leave as many replies unread as they may have buffers."""
        connections = self.clients(self.N_CLIENTS)
        for rounds in range(1, 4):
            expected = len(vmtest.live_buffers()) + 253 * self.N_CLIENTS
            for connection in connections:
                connection.send("Allocate", {"size": PAGE, "count": 253})
            vmtest.wait_until(lambda: len(vmtest.live_buffers()) == expected, DEADLINE,
                              f"each client has {rounds} replies to read")
            for _ in range(10):
                self.assert_others_served()
        # A client may have 1024 buffers; more are refused to it, and to no other client.
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

    def test_too_many_descriptors_in_flight_fail_one_request_only(self):
        """The kernel bounds the descriptors in flight of a user by RLIMIT_NOFILE, and returns ETOOMANYREFS beyond it.

        Only the request that exceeds the bound fails, with the reason."""
        daemon_pid()
        # Workers inherit this limit. The daemon's own stays, since it must receive all that they send.
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
            # They run one after the other. A worker that waits for a request has sent its reply.
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
    """Whether a worker that was thawed is done: it sleeps, and has only its socket open."""
    with open(f"/proc/{pid}/comm", encoding="ascii") as file:
        began = file.read() == "dmaheapd-worker\n"
    return began and process_state(pid) == "S" and os.listdir(f"/proc/{pid}/fd") == ["0"]


if __name__ == "__main__":
    vmtest.main()
