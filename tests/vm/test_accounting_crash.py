#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" timeout=900
# testbed: kernel=stock build=sanitize append="cma=64M dma_heap.mem_accounting=1" timeout=1200
"""After crashes under load, the daemon, the kernel and eight clients agree to the byte on who holds what."""

import contextlib
import os
import signal

import vmtest
from accountingload import PATIENCE, LoadTest
from daemontest import daemon_pid, spawner_pid, worker_pids


class Crash(LoadTest):
    N_DAEMONS = 20
    AGAIN = 2
    N_OTHERS = 10
    N_RESTARTS = 4
    N_IDLE = 2

    def rounds(self, n_rounds):
        for n in range(n_rounds):
            if n % 10 == 9:
                print(f"# {self.id()}: {n + 1} of {n_rounds}", flush=True)
            yield n

    def test_the_daemon_can_be_killed_at_any_moment(self):
        killed = set()
        for n in self.rounds(self.N_DAEMONS):
            self.kill_daemon(killed)
            if n % self.AGAIN:  # each AGAINth daemon is followed by another kill, without a check between them
                self.check()
        self.assertEqual(len(killed), self.N_DAEMONS)
        self.assertGreater(self.check(), 0)

    def test_spawner_and_workers_can_be_killed(self):
        for _ in self.rounds(self.N_OTHERS):
            daemon_pid()
            with contextlib.suppress(ProcessLookupError, ValueError, FileNotFoundError):
                for pid in worker_pids()[:4]:
                    os.kill(pid, signal.SIGKILL)
                os.kill(spawner_pid(), signal.SIGKILL)
        self.assertGreater(self.check(), 0)
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "Result"), "success")

    def test_the_service_can_be_restarted(self):
        for _ in self.rounds(self.N_RESTARTS):
            daemon_pid()
            vmtest.systemctl("restart", vmtest.SERVICE)
            self.check()

    def test_the_daemon_can_exit_when_idle_and_come_back(self):
        for _ in self.rounds(self.N_IDLE):
            daemon_pid()
            self.stop()
            vmtest.wait_until(lambda: vmtest.unit_property(vmtest.SERVICE, "ActiveState") == "inactive", PATIENCE,
                              "idle exit")
            self.go_on()
            self.check()


if __name__ == "__main__":
    vmtest.main()
