#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" build=release,sanitize timeout=1200
"""Clients vanish, workers and spawners die, and nothing is left of them."""

import contextlib
import os
import signal

import vmtest
from daemontest import DEADLINE, DaemonTest, children, daemon_pid, spawner_pid, worker_pids

PAGE = 4096


def vanish(count):
    """Connects, asks and disconnects 'count' times, every other time without waiting for the reply."""
    for n in range(count):
        connection = vmtest.Varlink()
        connection.send("Allocate", {"size": PAGE, "count": 1 + n % 7, "role": ("system", "contiguous")[n % 3 == 0]})
        if n % 2:
            reply = connection.receive()
            assert reply.error is None, reply
            vmtest.close_fds(reply.fds)
        connection.close()


class Vanish(DaemonTest):
    CONFIG = "[Daemon]\nIdleTimeoutSec=infinity\n"
    N_CYCLES = 2000

    def setUp(self):
        super().setUp()
        self.pid = daemon_pid()
        self.spawner = spawner_pid()

    def state(self):
        """File descriptors, processes and the kernel's list of buffers, all of which must be the same afterwards."""
        return {
            "daemon's fds": vmtest.n_fds(self.pid),
            "spawner's fds": vmtest.n_fds(self.spawner),
            "daemon's children": children(self.pid),
            "workers": children(self.spawner),
            "buffers": vmtest.live_buffers(),
        }

    def wait_for_state(self, expected):
        state = {}

        def is_as_before():
            state.update(self.state())
            return state == expected

        try:
            vmtest.wait_until(is_as_before, DEADLINE)
        except AssertionError:
            self.assertEqual(state, expected)

    def quiet_state(self):
        """The state after a first client of each heap, for which the daemon did what it does only once."""
        vanish(4)
        vmtest.wait_until(lambda: not children(self.spawner) and children(self.pid) == [self.spawner], DEADLINE,
                          "all is quiet")
        vmtest.wait_until(lambda: not self.state()["buffers"], DEADLINE, "no buffers")
        return self.state()

    def test_2000_clients_that_vanish_leave_nothing(self):
        before = self.quiet_state()
        self.assertEqual(before["spawner's fds"], 1)
        # Clients of two users run at the same time.
        halves = [vmtest.Child(vanish, self.N_CYCLES // 2, user=user) for user in ("user1", "user2")]
        for half in halves:
            half.result()
        self.wait_for_state(before)
        self.assertEqual((vmtest.unit_pid(), spawner_pid()), (self.pid, self.spawner))
        self.assert_others_served()

    def test_a_worker_keeps_nothing_of_200_calls(self):
        before = self.quiet_state()
        n_fds = []
        with vmtest.Varlink() as connection:
            for n in range(200):
                self.use(connection, count=1 + n % 5)
                for worker in children(self.spawner):
                    with contextlib.suppress(FileNotFoundError):  # a worker ends after an idle second
                        n_fds.append(vmtest.n_fds(worker))
        # They are its socket, and the device and five buffers of a call that it may not have closed yet.
        self.assertGreater(len(n_fds), 100)
        self.assertLessEqual(max(n_fds), 7)
        self.wait_for_state(before)

    def test_a_reply_that_is_never_read_is_freed(self):
        """The file descriptors are in the socket when the client disconnects."""
        before = self.quiet_state()
        for _ in range(20):
            with vmtest.Varlink() as connection:
                buffers = vmtest.live_buffers()
                connection.send("Allocate", {"size": PAGE, "count": 253})
                vmtest.wait_until(lambda: len(vmtest.live_buffers() - buffers) == 253, DEADLINE, "253 buffers")
        self.wait_for_state(before)

    def test_a_worker_killed_between_calls_is_not_missed(self):
        before = self.quiet_state()
        with vmtest.Varlink() as connection:
            for _ in range(10):
                self.use(connection, count=3)
                for worker in worker_pids():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker, signal.SIGKILL)
                    vmtest.wait_until(lambda: worker not in worker_pids(), DEADLINE, "the worker is dead")
            self.use(connection)
        self.wait_for_state(before)

    def test_a_killed_spawner_is_replaced(self):
        before = self.quiet_state()
        for _ in range(5):
            with vmtest.Varlink() as connection:
                family = [spawner_pid(), self.look_at_worker(connection, lambda pid: pid)]
                os.kill(family[0], signal.SIGKILL)
                vmtest.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in family), DEADLINE,
                                  "the spawner's worker ends with it")
            self.assert_others_served()
        self.assertNotEqual(spawner_pid(), self.spawner)
        self.spawner = spawner_pid()
        before["daemon's children"] = [self.spawner]
        self.wait_for_state(before)

    def test_the_oom_killer_takes_the_spawner_first_and_not_the_daemon(self):
        with open("/proc/sysrq-trigger", "w", encoding="ascii") as file:
            file.write("f")
        vmtest.wait_until(lambda: not os.path.exists(f"/proc/{self.spawner}"), DEADLINE,
                          "the kernel has killed the spawner")
        self.assert_others_served()
        self.assertEqual(vmtest.unit_pid(), self.pid)
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "ActiveState"), "active")


if __name__ == "__main__":
    vmtest.main()
