#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M"
# testbed: kernel=lts
"""The machine has what the other suites rely on."""

import os
import unittest

import vmtest


class Machine(unittest.TestCase):
    def test_boot_is_over_and_nothing_failed(self):
        vmtest.wait_until(lambda: vmtest.systemctl("is-system-running", check=False).stdout.strip() == "running", 60)
        self.assertEqual(vmtest.systemctl("--failed", "--no-legend"), "")

    def test_the_accounts_are_there(self):
        self.assertEqual(vmtest.group_members("dmaheap"), {"user1", "user2"})
        for user, uid in (("user1", 1000), ("user2", 1001), ("outsider", 1002)):
            with self.subTest(user=user):
                self.assertEqual(vmtest.as_user(user, os.getresuid), (uid, uid, uid))
                self.assertTrue(vmtest.as_user(user, os.access, f"/home/{user}", os.W_OK))

    def test_memory_is_accounted_in_every_unit(self):
        for path in ("system.slice/dbus.service", "user.slice", "system.slice/systemd-udevd.service"):
            with self.subTest(path=path):
                self.assertTrue(os.path.exists(f"/sys/fs/cgroup/{path}/memory.current"))
        self.assertEqual(vmtest.run_in_unit("probe", "cat", "/proc/self/cgroup"), "0::/system.slice/probe.service\n")

    def test_the_programs_are_there(self):
        for program in ("varlinkctl", "systemd-run", "strace", "kmod", "modprobe", "udevadm", "python3", "setpriv"):
            with self.subTest(program=program):
                vmtest.run("sh", "-c", f"command -v {program}")

    def test_system_heap_is_there_and_ours_are_not_loaded(self):
        self.assertTrue(os.path.exists("/dev/dma_heap/system"))
        self.assertFalse(vmtest.module_loaded("cma_heap"))

    def test_a_failure_in_a_child_is_seen(self):
        with self.assertRaises(ZeroDivisionError):
            vmtest.as_user("user1", divmod, 1, 0)


if __name__ == "__main__":
    vmtest.main()
