#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" enable=dmaheapd.socket
# testbed: kernel=stock append="cma=64M modprobe.blacklist=cma_region" enable=dmaheapd.socket
# testbed: kernel=stock enable=dmaheapd.socket
# testbed: kernel=stock append="cma=64M"
"""What has happened when multi-user.target is reached and no client has come: these machines differ in whether there is
a CMA region, whether something reports it, and whether the socket is enabled."""

import os
import pathlib
import unittest

import vmtest

CMA = "default_cma_region"
HAS_REGION = "cma=" in pathlib.Path("/proc/cmdline").read_text()
ENABLED = vmtest.systemctl("is-enabled", "dmaheapd.socket", check=False).stdout.strip() == "enabled"


def daemon_has_run():
    return vmtest.unit_property(vmtest.SERVICE, "ExecMainStartTimestampMonotonic") != "0"


class Boot(unittest.TestCase):
    def test_the_socket_listens_if_it_is_enabled(self):
        state = vmtest.unit_property("dmaheapd.socket", "ActiveState")
        self.assertEqual(state, "active" if ENABLED else "inactive")

    def test_daemon_ran_if_it_was_wanted(self):
        self.assertEqual(daemon_has_run(), ENABLED and HAS_REGION)

    def test_heap_is_there_if_it_was_wanted(self):
        self.assertEqual(vmtest.module_loaded("cma_heap"), ENABLED and HAS_REGION)
        self.assertEqual(os.path.exists(f"/dev/dma_heap/{CMA}"), ENABLED and HAS_REGION)

    def test_only_root_may_open_the_heaps_nodes(self):
        for node in pathlib.Path("/dev/dma_heap").iterdir():
            with self.subTest(node=node.name):
                status = node.stat()
                self.assertEqual((status.st_mode & 0o777, status.st_uid, status.st_gid), (0o600, 0, 0))

    def test_systemd_finds_no_ordering_cycle(self):
        self.assertNotIn("ordering cycle", vmtest.run("journalctl", "-b", "--no-pager", "-o", "cat").lower())

    def test_journal_is_short(self):
        lines = vmtest.run("journalctl", "-b", "--no-pager", "-o", "cat", "-u", "dmaheapd.service").splitlines()
        self.assertLessEqual(len(lines), 8, lines)
        if ENABLED and HAS_REGION:
            self.assertEqual(sum("cma_heap" in line for line in lines), 1, lines)


class Idle(unittest.TestCase):
    """The time after the boot. The tests run in this order."""

    def test_1_the_daemon_exits_when_nobody_needs_it(self):
        vmtest.wait_until(lambda: vmtest.unit_property(vmtest.SERVICE, "ActiveState") == "inactive", 120,
                          "the daemon has gone")
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "Result"), "success")

    def test_2_a_heap_is_ready_if_the_boot_loaded_its_module(self):
        if not ENABLED:
            vmtest.systemctl("start", "dmaheapd.socket")
        found = {heap["name"]: heap for heap in vmtest.call("ListHeaps")["heaps"]}
        self.assertEqual(CMA in found, HAS_REGION)
        if HAS_REGION:
            heap = found[CMA]
            self.assertEqual((heap["state"], heap["region"], heap["size"]),
                             ("ready" if ENABLED else "loadable", "reserved", 64 << 20))


if __name__ == "__main__":
    vmtest.main()
