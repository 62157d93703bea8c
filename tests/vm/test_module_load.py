#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=tristate append="cma=64M"
# testbed: kernel=stock append="cma=64M"
"""Our modules load by their aliases, heaps stay loaded, names are not taken twice, and udev is told of CMA regions."""

import os
import subprocess
import unittest

import heaps
import vmtest
from heaps import CMA, PAGE, SYSTEM


class Aliases(heaps.HeapTest):
    def test_every_heap_finds_its_module(self):
        for name in (CMA, "reserved", "linux,cma", "default-pool"):
            with self.subTest(name=name):
                self.assertEqual(resolve(name), "cma_heap")
        if not built_in():
            self.assertEqual(resolve(SYSTEM), "system_heap")

    def test_our_modules_come_before_the_kernels(self):
        for name in ("cma_heap", "cma_region", "heap_buffer"):
            with self.subTest(name=name):
                self.assertIn("/updates/dmaheapd/", vmtest.run("modinfo", "-n", name))


def resolve(name):
    return vmtest.run("modprobe", "--resolve-alias", "dma-heap:" + name).strip()


def built_in():
    """Whether the system heap is the kernel's own."""
    return not vmtest.module_loaded("system_heap")


class Unloading(heaps.HeapTest):
    def test_heaps_cannot_be_unloaded(self):
        names = ["cma_heap", "heap_buffer"] + ([] if built_in() else ["system_heap"])
        if heaps.core_is_ours():
            names.append("dma_heap")
        # This is without -f, with which a kernel that allows it (Debian's does) unloads any module.
        for name in names:
            with self.subTest(module=name):
                self.assertNotEqual(vmtest.run("rmmod", name, check=False).returncode, 0)
                self.assertTrue(vmtest.module_loaded(name))
        os.close(self.allocate(CMA, PAGE))

    def test_cma_region_can_be_unloaded_and_loaded_again(self):
        for _ in range(3):
            heaps.modprobe("cma_region")
            self.assertEqual(os.listdir("/sys/bus/cma_region/devices"), ["reserved"])
            vmtest.run("rmmod", "cma_region")
            self.assertFalse(os.path.exists("/sys/bus/cma_region"))


class Twice(heaps.HeapTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        heaps.load_test_module("test_heap")
        heaps.load_test_module("protected_heap")

    def insert_twin(self, *parameters):
        """Loads another module that adds a heap of the same name, and must fail. Returns what insmod says."""
        before = sorted(os.listdir("/dev/dma_heap"))
        done = vmtest.run("insmod", f"{heaps.TEST_MODULES}/twin_heap.ko", *parameters, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertFalse(vmtest.module_loaded("twin_heap"))
        self.assertEqual(sorted(os.listdir("/dev/dma_heap")), before)
        os.close(self.allocate("protected,test", PAGE))
        return done.stderr

    def test_a_module_cannot_be_loaded_twice(self):
        path = vmtest.run("modinfo", "-n", "cma_heap").strip()
        done = vmtest.run("insmod", path, check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("File exists", done.stderr)

    def test_a_second_heap_of_a_name_is_refused(self):
        self.assertIn("busy", self.insert_twin())

    def test_our_core_looks_for_the_name_itself(self):
        if heaps.core_is_ours():
            self.assertIn("busy", self.insert_twin("wrong=core"))

    def test_a_heap_without_a_name_or_an_operation_is_refused(self):
        for wrong in ("name", "ops"):
            with self.subTest(wrong=wrong):
                self.assertIn("Invalid parameters", self.insert_twin("wrong=" + wrong))


class Region(heaps.HeapTest):
    DEVICE = "/sys/bus/cma_region/devices/reserved"

    def setUp(self):
        heaps.modprobe("cma_region")

    def properties(self):
        text = vmtest.run("udevadm", "info", "--query=property", "--path", os.path.realpath(self.DEVICE))
        return dict(line.split("=", 1) for line in text.splitlines())

    def test_udev_has_the_regions_properties(self):
        found = self.properties()
        self.assertEqual(found["SUBSYSTEM"], "cma_region")
        self.assertEqual(found["CMA_REGION_NAME"], "reserved")
        self.assertEqual(found["CMA_REGION_DEFAULT"], "1")
        self.assertEqual(found["MODALIAS"], "cma-region:reserved")

    def test_sysfs_has_the_regions_attributes(self):
        for name, value in (("name", "reserved"), ("default", "1"), ("modalias", "cma-region:reserved")):
            with self.subTest(name=name), open(f"{self.DEVICE}/{name}", encoding="ascii") as file:
                self.assertEqual(file.read(), value + "\n")

    def test_udev_is_told_when_a_region_comes_and_goes(self):
        vmtest.run("rmmod", "cma_region")
        with subprocess.Popen(["stdbuf", "-oL", "udevadm", "monitor", "--udev", "--property",
                               "--subsystem-match=cma_region"], stdout=subprocess.PIPE, text=True) as monitor:
            lines = iter(monitor.stdout.readline, "")
            for line in lines:  # udevadm first says what it is going to print
                if line == "\n":
                    break
            for action, command in (("add", "modprobe"), ("remove", "rmmod")):
                with self.subTest(action=action):
                    vmtest.run(command, "cma_region")
                    event = []
                    for line in lines:
                        if line == "\n" and event:
                            break
                        event.append(line.strip())
                    self.assertIn("ACTION=" + action, event)
                    self.assertIn("CMA_REGION_NAME=reserved", event)
            monitor.terminate()


if __name__ == "__main__":
    vmtest.main()
