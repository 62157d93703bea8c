#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=debug append="cma=64M dma_heap.mem_accounting=1" memory=3072 timeout=3000
"""Each allocation inside the kernel fails once, and each time the caller gets an error and nothing is left behind.

/proc/thread-self/fail-nth (the kernel's Documentation/fault-injection): the Nth allocation of this thread from now on
fails."""

import ctypes
import errno
import glob
import mmap
import os
import re
import struct
import unittest

import heaps
import vmtest
from heaps import CMA, MIB, PAGE, SYSTEM

FINIT_MODULE = 313


def setUpModule():
    """Makes all allocations fail. By default the kernel spares those that may wait, and those of a single page."""
    for name, value in (("ignore-gfp-wait", "N"), ("ignore-gfp-highmem", "N"), ("min-order", "0"), ("verbose", "0")):
        for path in glob.glob(f"/sys/kernel/debug/fail*/{name}"):
            with open(path, "w", encoding="ascii") as file:
                file.write(value)
    # These are the kernel's own faults: it warns whenever an exporter cannot map, and bus_register() undoes more than
    # it has done.
    heaps.KNOWN = re.compile(heaps.KNOWN.pattern + r"|WARNING: drivers/dma-buf/dma-buf\.c:\d+ at dma_buf_vmap\+"
                             r"|WARNING: kernel/locking/lockdep\.c:\d+ at lockdep_unregister_key\+")


class Faults:
    """Runs a function again and again. The first time its first allocation fails, then its second, until it has no
    more.

    'errors' has the errno of each run, 0 where the kernel could do without that allocation."""

    def __init__(self):
        self.fd = os.open("/proc/thread-self/fail-nth", os.O_RDWR | os.O_CLOEXEC)
        self.errors = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def each(self, function, undo, skipped=None):
        """The function returns a negative number for an error, which is in ctypes's errno; 'undo' gets any other
        number.

        With 'skipped', the numbers of allocations that must not fail, the first success cannot be undone and ends
        it."""
        for n in range(1, 5000):
            if n in (skipped or ()):
                self.errors.append(0)
                continue
            os.write(self.fd, b"%d" % n)
            result = function()
            error = ctypes.get_errno()
            left = os.pread(self.fd, 16, 0)
            os.write(self.fd, b"0")
            if int(left) > 0:
                assert result >= 0, f"fails without a fault: {errno.errorcode[error]}"
                undo(result)
                return
            self.errors.append(error if result < 0 else 0)
            if result >= 0:
                undo(result)
                if skipped is not None:
                    return
        raise AssertionError("it never runs out of allocations")

    def names(self):
        return {errno.errorcode.get(number, "0") for number in self.errors}


class Modules(unittest.TestCase):
    """This class is the first, when there are no heaps yet."""

    harmless = set()

    def insert(self, name, undo, skipped=None):
        fd = os.open(vmtest.run("modinfo", "-n", name).strip(), os.O_RDONLY | os.O_CLOEXEC)
        parameters = ctypes.create_string_buffer(b"")
        heaps.mark_kernel_log(f"test: {name} begins")
        with Faults() as faults:
            faults.each(lambda: heaps.libc.syscall(FINIT_MODULE, fd, parameters, 0), undo, skipped)
        os.close(fd)
        print(f"# {name}: {len(faults.errors)} allocations, {faults.errors.count(0)} of them needless:",
              "".join("." if error == errno.ENOMEM else "o" if error == 0 else "x" for error in faults.errors))
        self.assertLessEqual(faults.names(), {"0", "ENOMEM"})
        log = heaps.kernel_log_since(f"test: {name} begins")
        # The loader prints a trace when it has no memory for a module.
        found = [line for line in heaps.complaints(log) if "Call Trace" not in line]
        self.assertEqual(found, [], "\n".join(log))
        return faults.errors

    def test_1_cma_region_loads_or_leaves_nothing(self):
        def undo(_):
            self.assertEqual(os.listdir("/sys/bus/cma_region/devices"), ["reserved"])
            vmtest.run("rmmod", "cma_region")
            self.assertFalse(os.path.exists("/sys/bus/cma_region"))
        undo(None)
        heaps.kmemleak("clear")
        errors = self.insert("cma_region", undo)
        self.harmless.update(n for n, error in enumerate(errors, 1) if error == 0)
        self.assertGreater(errors.count(errno.ENOMEM), 20)
        self.assertEqual(heaps.leaks(), "")

    def test_2_the_heaps_load_or_leave_nothing(self):
        """Heaps cannot be unloaded, so the first success ends it. Allocations that the loader could do without are
        skipped."""
        heaps.kmemleak("clear")
        for name in ("dma_heap", "heap_buffer", "system_heap", "cma_heap"):
            with self.subTest(module=name):
                self.assertGreaterEqual(self.insert(name, lambda _: None, self.harmless).count(errno.ENOMEM), 2)
                self.assertTrue(vmtest.module_loaded(name))
        self.assertEqual(heaps.leaks(), "")


class Requests(heaps.HeapTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        heaps.load_test_module("dmabuf_probe")

    def fail_each(self, function, undo, enough, allowed=("ENOMEM",)):
        buffers, pages, fds = vmtest.live_buffers(), heaps.cma_pages(), vmtest.n_fds()
        with Faults() as faults:
            faults.each(function, undo)
        print(f"# {self.id().split('.', 1)[1]}: {len(faults.errors)} allocations failed, "
              f"{faults.errors.count(0)} of them to no harm")
        self.assertLessEqual(faults.names(), {"0", *allowed})
        self.assertGreaterEqual(len(faults.errors) - faults.errors.count(0), enough)
        self.assertEqual(vmtest.n_fds(), fds)
        self.assertEqual(vmtest.live_buffers(), buffers)
        vmtest.wait_until(lambda: heaps.cma_pages() == pages, what="pages are missing")

    def test_an_allocation_succeeds_or_leaves_nothing(self):
        for name, size in ((SYSTEM, PAGE), (SYSTEM, 300 * PAGE), (CMA, PAGE), (CMA, 4 * MIB)):
            with self.subTest(heap=name, size=size), heaps.Heap(name) as heap:
                data = ctypes.create_string_buffer(24)

                def request(heap=heap, size=size, data=data):
                    struct.pack_into("QIIQ", data, 0, size, 0, os.O_RDWR | os.O_CLOEXEC, 0)
                    return heaps.libc.ioctl(heap.fd, heaps.alloc_command(), data)

                def undo(_, data=data):
                    fd = struct.unpack_from("QI", data)[1]
                    self.assertTrue(heaps.is_filled(fd, 0))
                    heaps.fill(fd, 0xa5)
                    os.close(fd)
                self.fail_each(request, undo, 4, ("ENOMEM", "ENFILE"))

    def test_an_import_succeeds_or_leaves_nothing(self):
        for name in (SYSTEM, CMA):
            # 200 pages of the system heap are in several pieces, so that mapping them needs a table of some size.
            fds = [self.allocate(name, 200 * PAGE) for _ in range(2)]
            for request in (1, 3):  # maps into the kernel, and maps for a device
                with self.subTest(heap=name, request=request):
                    probe_fd = os.open("/dev/dmabuf_probe", os.O_RDWR | os.O_CLOEXEC)
                    self.addCleanup(os.close, probe_fd)
                    data = ctypes.create_string_buffer(struct.pack("iBBHQQQ", fds[0], 0, 0, 0, 0, 0, 0), 32)
                    self.fail_each(lambda probe_fd=probe_fd, data=data, request=request:
                                   heaps.libc.ioctl(probe_fd, heaps.iowr("D", request, 32), data), lambda _: None,
                                   0 if request == 1 and name == CMA else 2)
            vmtest.close_fds(fds)

    def test_a_mapping_succeeds_or_leaves_nothing(self):
        for name in (SYSTEM, CMA):
            with self.subTest(heap=name):
                size = 4 * MIB
                fd = self.allocate(name, size)

                def request(fd=fd, size=size):
                    address = heaps.libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, fd, 0)
                    return -1 if address in (None, ctypes.c_void_p(-1).value) else address

                def undo(address, size=size):
                    self.assertEqual(ctypes.string_at(address, size), bytes(size))
                    heaps.libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))
                self.fail_each(request, undo, 1)
                os.close(fd)


class Adding(heaps.HeapTest):
    """This class is the last, because heaps cannot be removed."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        heaps.load_test_module("test_heap")
        heaps.load_test_module("many_heaps")
        cls.fd = os.open("/sys/module/many_heaps/parameters/add", os.O_WRONLY | os.O_CLOEXEC)

    def add(self):
        return heaps.libc.write(self.fd, b"1", 1)

    def names(self):
        return sorted(os.listdir("/sys/class/dma_heap"))

    def test_1_a_heap_is_added_or_leaves_nothing(self):
        before = self.names()
        with Faults() as faults:
            faults.each(self.add, lambda _: None)
        print(f"# a heap: {len(faults.errors)} allocations failed, {faults.errors.count(0)} of them to no harm")
        self.assertLessEqual(faults.names(), {"0", "ENOMEM"})
        self.assertGreater(faults.errors.count(errno.ENOMEM), 5)
        self.assertEqual(len(self.names()), len(before) + faults.errors.count(0) + 1)

    def test_2_the_core_takes_128_heaps(self):
        while self.add() > 0:
            pass
        self.assertEqual(errno.errorcode[ctypes.get_errno()], "ENOSPC")
        self.assertEqual(len(self.names()), 128)
        # A node may be missing, because the kernel does not treat a lack of memory for it as an error.
        nodes = os.listdir("/dev/dma_heap")
        self.assertGreater(len(nodes), 120)
        self.assertLessEqual(set(nodes), set(self.names()))
        for name in nodes:
            os.close(self.allocate(name, PAGE))


if __name__ == "__main__":
    vmtest.main()
