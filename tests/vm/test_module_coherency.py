#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=tristate append="cma=64M swiotlb=force"
"""The CPU and a device that is not coherent see what the other one wrote, because the heaps synchronize them.

Memory on x86 is coherent. But with swiotlb=force every device works on a copy, and sees only what the DMA API was asked
to copy."""

import mmap

import heaps
import vmtest
from heaps import CMA, KIB, MIB, PAGE, SYSTEM

# tests/modules/dmabuf_probe.h
MAP, APART, BEGIN, KEEP, END, UNMAP = (1 << bit for bit in range(6))


class Coherency(heaps.HeapTest):
    # A bounce buffer has at most 256 KiB in one piece, so larger sizes take several.
    SIZES = (PAGE, 64 * KIB, 31 * PAGE, 600 * KIB, 2 * MIB)

    def test_a_device_and_the_cpu_take_turns(self):
        for name in (SYSTEM, CMA, "reserved"):
            for size in self.SIZES:
                with self.subTest(heap=name, size=size):
                    fd = self.allocate(name, size)
                    heaps.fill(fd, 0x11)
                    found = heaps.probe("share", fd, expect=0x11, fill_with=0x42)[0]
                    # Without these two the device had no copy, and the test would prove nothing.
                    self.assertEqual(found & (APART | KEEP), APART | KEEP)
                    self.assertEqual(found, MAP | APART | BEGIN | KEEP | END | UNMAP)
                    self.assertTrue(heaps.is_filled(fd, 0x42))

    def test_a_program_sees_what_the_device_wrote(self):
        # The program's mapping existed before the device wrote.
        for name in (SYSTEM, CMA):
            with self.subTest(heap=name):
                fd = self.allocate(name, 64 * KIB)
                with mmap.mmap(fd, 64 * KIB, mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
                    heaps.probe("share", fd, fill_with=0x24)
                    vmtest.sync_buffer(fd, write=False)
                    self.assertEqual(mapped[:], bytes([0x24]) * 64 * KIB)
                    vmtest.sync_buffer(fd, end=True, write=False)


if __name__ == "__main__":
    vmtest.main()
