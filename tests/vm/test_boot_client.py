#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" enable=dmaheapd.socket,boot-client.service,boot-client-early.service
# testbed+ add=boot-client.service:/etc/systemd/system/boot-client.service
# testbed+ add=boot-client-early.service:/etc/systemd/system/boot-client-early.service files=boot-client.py
"""Services allocate while the machine boots, one of them before sysinit.target; no unit waits that did not ask to."""

import json
import unittest

import vmtest

UNITS = ("dmaheapd.socket", vmtest.SERVICE, "cma-region.target")
CLIENTS = {"boot-client.service", "boot-client-early.service"}


def outcome(name):
    with open(f"/run/boot-client-{name}.json", encoding="ascii") as file:
        return json.load(file)


def units_of(unit, name):
    """The units that a property of a unit lists."""
    return set(vmtest.unit_property(unit, name).split())


class Client(unittest.TestCase):
    def assert_buffer(self, result, heap):
        self.assertEqual((result["error"], result["fds"], result.get("heap"), result.get("zeroed")),
                         (None, 1, heap, True), result)

    def test_a_service_gets_its_buffers(self):
        result = outcome("late")
        self.assertFalse(result["multi-user.target"])
        self.assert_buffer(result["system"], "system")
        self.assert_buffer(result["contiguous"], "default_cma_region")

    def test_a_service_before_sysinit_gets_its_buffers(self):
        result = outcome("early")
        self.assertFalse(result["sysinit.target"], "this was not early")
        self.assert_buffer(result["system"], "system")

    def test_no_unit_has_failed(self):
        failed = vmtest.systemctl("list-units", "--failed", "--plain", "--no-legend")
        self.assertEqual(failed.strip(), "")


class Order(unittest.TestCase):
    def test_systemd_finds_no_ordering_cycle(self):
        self.assertNotIn("ordering cycle", vmtest.run("journalctl", "-b", "--no-pager", "-o", "cat").lower())

    def test_systemd_analyze_verify_finds_nothing(self):
        done = vmtest.run("systemd-analyze", "verify", "--man=no", *UNITS, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_only_units_that_ask_for_it_wait(self):
        self.assertEqual(units_of("dmaheapd.socket", "Before") - CLIENTS,
                         {"sockets.target", "shutdown.target", vmtest.SERVICE})
        self.assertEqual(units_of(vmtest.SERVICE, "Before"), {"multi-user.target", "shutdown.target"})
        self.assertLessEqual(units_of("cma-region.target", "Before"), {"shutdown.target"})

    def test_only_units_that_ask_for_it_need_ours(self):
        for unit, wanted in (("dmaheapd.socket", {"sockets.target"}), (vmtest.SERVICE, {"cma-region.target"})):
            with self.subTest(unit=unit):
                self.assertEqual(units_of(unit, "WantedBy"), wanted)
        self.assertEqual(units_of("dmaheapd.socket", "RequiredBy"), {vmtest.SERVICE})
        self.assertEqual(units_of(vmtest.SERVICE, "RequiredBy"), set())


if __name__ == "__main__":
    vmtest.main()
