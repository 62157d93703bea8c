#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=tristate append="cma=64M swiotlb=force"
"""A device that does not see what the CPU writes, nor the CPU what it writes, until either is told.

Memory on x86 is coherent, but with swiotlb=force every device works on a copy, as one behind a bounce buffer does: what the
DMA API is not asked to copy, the other side does not see.
"""

import mmap

import heaps
import vmtest
from heaps import CMA, KIB, MIB, PAGE, SYSTEM

# tests/modules/dmabuf_probe.h
MAP, APART, BEGIN, KEEP, END, UNMAP = (1 << bit for bit in range(6))


class Coherency(heaps.HeapTest):
    # A bounce buffer has at most 256 KiB in one piece; what is larger is handed over in several.
    SIZES = (PAGE, 64 * KIB, 31 * PAGE, 600 * KIB, 2 * MIB)

    def test_a_device_and_the_cpu_take_turns(self):
        for name in (SYSTEM, CMA, "reserved"):
            for size in self.SIZES:
                with self.subTest(heap=name, size=size):
                    fd = self.allocate(name, size)
                    heaps.fill(fd, 0x11)
                    found = heaps.probe("share", fd, expect=0x11, fill_with=0x42)[0]
                    # Without these two there was no copy, and the rest proves nothing.
                    self.assertEqual(found & (APART | KEEP), APART | KEEP)
                    self.assertEqual(found, MAP | APART | BEGIN | KEEP | END | UNMAP)
                    self.assertTrue(heaps.is_filled(fd, 0x42))

    def test_a_program_sees_what_the_device_wrote(self):
        # The same memory, by way of the program's mapping, which was there all the time.
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
