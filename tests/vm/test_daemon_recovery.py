#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M"
"""A heap whose module failed to load is tried again, and works once the cause is gone."""

import vmtest
from daemontest import DaemonTest, daemon_pid, install_test_modules, modprobe_conf

HEAP = "failing_test"
PAGE = 4096


class Recovery(DaemonTest):
    def test_a_heap_that_failed_is_ready_once_the_cause_is_gone(self):
        install_test_modules()
        pid = daemon_pid()
        with vmtest.Varlink() as subscriber:
            for error, name in ((19, "ENODEV"), (12, "ENOMEM"), (17, "EEXIST")):
                with self.subTest(error=name), modprobe_conf(f"options failing_heap error={error}"):
                    reply = vmtest.allocate(heap=HEAP, size=PAGE)
                    self.assert_error(reply, "HeapUnavailable", heap=HEAP)
                    self.assertIn(name, reply["reason"])
            subscriber.send("ListHeaps", more=True)
            self.assertEqual(state_in(subscriber.receive()), "failed")
            with modprobe_conf("options failing_heap error=0"):
                self.assert_served(vmtest.allocate(heap=HEAP, size=PAGE), HEAP)
            vmtest.wait_until(lambda: state_in(subscriber.receive()) == "ready", what="the subscriber is told")
        self.assertEqual(daemon_pid(), pid)


def state_in(reply):
    return next(heap["state"] for heap in reply["heaps"] if heap["name"] == HEAP)


if __name__ == "__main__":
    vmtest.main()
