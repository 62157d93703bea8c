#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" build=release,sanitize
"""The daemon exits by itself or is killed, and the next client starts another one."""

import contextlib
import os
import signal
import time

import vmtest
from daemontest import DEADLINE, DaemonTest, configure, daemon_pid, spawner_pid

PAGE = 4096


def state():
    return vmtest.unit_property(vmtest.SERVICE, "ActiveState")


def socket_state():
    return vmtest.unit_property("dmaheapd.socket", "ActiveState"), vmtest.unit_property("dmaheapd.socket", "Result")


class Idle(DaemonTest):
    CONFIG = "[Daemon]\nIdleTimeoutSec=2s\n"

    def wait_for_exit(self):
        vmtest.wait_until(lambda: state() == "inactive", DEADLINE, "the daemon has exited")
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "ExecMainCode"), "1", "CLD_EXITED")
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "ExecMainStatus"), "0")
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "Result"), "success")
        self.assertEqual(socket_state(), ("active", "success"))
        self.assertEqual(vmtest.pids_named("dmaheapd-spawner") + vmtest.pids_named("dmaheapd"), [])

    def test_it_exits_and_the_next_client_is_served(self):
        pids = set()
        for _ in range(3):
            pids.add(daemon_pid())
            self.assert_others_served()
            self.wait_for_exit()
        self.assertEqual(len(pids), 3)
        self.assert_others_served()

    def test_live_buffers_do_not_keep_it_running(self):
        reply = self.assert_served(vmtest.allocate(size=PAGE))
        self.wait_for_exit()
        with vmtest.map_buffer(reply.fds[0], PAGE) as memory:
            memory[:4] = b"mine"
            self.assertEqual(memory[:4], b"mine")

    def test_a_connection_keeps_it_running(self):
        with vmtest.Varlink() as connection:
            self.assertIsNone(connection.call("ListHeaps").error)
            pid = vmtest.unit_pid()
            # Another client that comes and goes makes no difference.
            self.assert_others_served()
            deadline = time.monotonic() + 6
            vmtest.wait_until(lambda: time.monotonic() > deadline or state() != "active", DEADLINE)
            self.assertEqual(vmtest.unit_pid(), pid)
            self.assert_served(connection.call("Allocate", {"size": PAGE}))
        self.wait_for_exit()

    def test_systemd_can_stop_it_beneath_a_client(self):
        with vmtest.Varlink() as connection:
            self.assert_served(connection.call("Allocate", {"size": PAGE}))
            vmtest.systemctl("stop", vmtest.SERVICE)
            self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "Result"), "success")
            with self.assertRaises(vmtest.ConnectionClosed):
                connection.call("ListHeaps")
        self.assert_others_served()


class Killed(DaemonTest):
    N_KILLS = 20

    def tearDown(self):
        pass  # these tests want the daemon to be started again, which DaemonTest does not allow

    def setUp(self):
        super().setUp()
        configure()

    def test_twenty_kills_in_a_row_leave_the_socket_working(self):
        """Each daemon is killed as soon as it is there, while a client is connected."""
        daemon_pid()
        with vmtest.Varlink() as client:
            self.assert_served(client.call("Allocate", {"size": PAGE}))
            begun = time.monotonic()
            killed = set()
            while len(killed) < self.N_KILLS:
                pid = vmtest.wait_until(lambda: next(iter(set(vmtest.pids_named("dmaheapd")) - killed), None), DEADLINE,
                                        "the daemon has been started again")
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)
            print(f"# killed {len(killed)} times in {time.monotonic() - begun:.1f} s")
            with self.assertRaises(vmtest.ConnectionClosed):
                client.call("ListHeaps")
        with vmtest.Varlink(timeout=DEADLINE) as client:
            self.assert_served(client.call("Allocate", {"size": PAGE}))
        self.assertEqual(socket_state(), ("active", "success"))
        self.assertEqual(state(), "active")

    def test_its_workers_and_spawner_end_with_it(self):
        pid = daemon_pid()
        with vmtest.Varlink() as connection:
            family = [pid, spawner_pid(), self.look_at_worker(connection, lambda worker: worker)]
            os.kill(pid, signal.SIGKILL)
            vmtest.wait_until(lambda: not any(os.path.exists(f"/proc/{one}") for one in family), DEADLINE,
                              "all of them ended")
        self.assert_others_served()

    def test_a_crash_ends_the_connection_of_a_waiting_request(self):
        daemon_pid()
        with vmtest.Varlink() as connection:
            pid = vmtest.unit_pid()
            os.kill(pid, signal.SIGSTOP)
            connection.send("Allocate", {"size": PAGE})
            os.kill(pid, signal.SIGKILL)
            with self.assertRaises(vmtest.ConnectionClosed):
                connection.receive()
        self.assert_others_served()


if __name__ == "__main__":
    vmtest.main()
