#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: append="cma=64M" enable=dmaheapd.socket add=open-heaps.rules:/etc/udev/rules.d/50-open-heaps.rules
"""Udev rules that come before ours and open the heaps' nodes: the nodes stay root's."""

import pathlib
import shutil
import unittest

import vmtest

OURS = "/usr/lib/udev/rules.d/60-dmaheapd.rules"


def nodes():
    """Owner, group and mode of each node."""
    found = {}
    for node in pathlib.Path("/dev/dma_heap").iterdir():
        status = node.stat()
        found[node.name] = status.st_uid, status.st_gid, status.st_mode & 0o777
    return found


def trigger():
    vmtest.run("udevadm", "control", "--reload")
    vmtest.run("udevadm", "trigger", "--settle", "--action=change", "--subsystem-match=dma_heap")


class Rules(unittest.TestCase):
    def test_1_nodes_stay_closed(self):
        """The node that was there at boot and those of a module that is loaded later are root's."""
        self.assertIsNone(vmtest.call("Allocate", {"size": 4096, "heap": "default_cma_region"}).error)
        vmtest.run("udevadm", "settle")
        self.assertEqual(nodes(), dict.fromkeys(("default_cma_region", "reserved", "system"), (0, 0, 0o600)))
        trigger()
        self.assertEqual(set(nodes().values()), {(0, 0, 0o600)})

    def test_2_other_rules_would_open_them(self):
        """Without our rule the other one opens the nodes, so the first test can fail."""
        shutil.move(OURS, "/run/rules")
        try:
            trigger()
            self.assertEqual({owner for owner, _, _ in nodes().values()}, {1000})
            self.assertEqual({mode for _, _, mode in nodes().values()}, {0o666})
        finally:
            shutil.move("/run/rules", OURS)
        trigger()
        self.assertEqual(set(nodes().values()), {(0, 0, 0o600)})


if __name__ == "__main__":
    vmtest.main()
