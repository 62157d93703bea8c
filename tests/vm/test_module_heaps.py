#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=tristate append="cma=64M" timeout=900
"""Heaps give zeroed buffers of every size, map them right, and return the right error otherwise."""

import ctypes
import errno
import mmap
import os
import resource
import struct
import unittest

import heaps
import vmtest
from heaps import CMA, KIB, MIB, PAGE, SYSTEM

NAMES = (SYSTEM, CMA, "reserved")
SIZES = (1, PAGE - 1, PAGE, PAGE + 1, 5 * PAGE, 64 * KIB, 64 * KIB + 1, MIB - PAGE, MIB, 2 * MIB + PAGE, 16 * MIB + 1)


class Sizes(heaps.HeapTest):
    def test_every_size_is_rounded_up_to_pages(self):
        for name in NAMES:
            for size in SIZES:
                with self.subTest(heap=name, size=size):
                    fd = self.allocate(name, size)
                    self.assertEqual(heaps.buffer_size(fd), -(-size // PAGE) * PAGE)
                    self.assertEqual(os.lseek(fd, 0, os.SEEK_END), heaps.buffer_size(fd))
                    self.assertEqual(vmtest.fdinfo(fd)["exp_name"], name)
                    os.close(fd)

    def test_reused_pages_are_zeroed(self):
        for name in NAMES:
            for size in SIZES:
                with self.subTest(heap=name, size=size):
                    for _ in range(2):
                        fd = self.allocate(name, size)
                        self.assertTrue(heaps.is_filled(fd, 0))
                        heaps.fill(fd, 0xa5)
                        os.close(fd)

    def test_nearly_all_memory_and_all_of_a_region_can_be_had(self):
        largest = heaps.cma_pages() * PAGE
        fd = self.allocate(CMA, largest)
        self.assertTrue(heaps.is_filled(fd, 0))
        self.assert_errno(errno.ENOMEM, heaps.allocate, CMA, 1)
        os.close(fd)

        # Other processes need some memory, too: an eighth is left, so that the OOM killer need not run.
        before = oom_kills()
        size = (heaps.available_memory() - vmtest.meminfo("CmaFree")) // 8 * 7
        fd = self.allocate(SYSTEM, size)
        self.assertTrue(heaps.is_filled(fd, 0))
        os.close(fd)
        self.assertEqual(oom_kills(), before)

    def test_more_than_there_is_is_enomem(self):
        total = os.sysconf("SC_PHYS_PAGES") * PAGE
        for name, size in ((CMA, heaps.cma_pages("total") * PAGE + 1), (CMA, 1 << 40), (CMA, 1 << 62),
                           (SYSTEM, 2 * total), (SYSTEM, 1 << 62)):
            with self.subTest(heap=name, size=size):
                self.assert_errno(errno.ENOMEM, self.allocate, name, size)

    def test_impossible_sizes_are_einval(self):
        for name in NAMES:
            for size in (0, (1 << 64) - 1, (1 << 64) - PAGE + 1):
                with self.subTest(heap=name, size=size):
                    self.assert_errno(errno.EINVAL, heaps.allocate, name, size)

    def test_more_than_is_free_is_enomem_without_the_oom_killer(self):
        before = oom_kills()
        self.assert_errno(errno.ENOMEM, heaps.allocate, SYSTEM, os.sysconf("SC_PHYS_PAGES") * PAGE - 32 * MIB)
        self.assertEqual(oom_kills(), before)


def oom_kills():
    return vmtest.keyed("/proc/vmstat")["oom_kill"]


class Orders(heaps.HeapTest):
    """The system heap uses large runs of pages where there are any, and has no memory moved to make some."""

    def test_large_runs_are_used_where_there_are_any(self):
        vmtest.run("sysctl", "--quiet", "vm.compact_memory=1")
        size = 32 * MIB
        n_runs = heaps.probe("map", self.allocate(SYSTEM, size))[1]
        self.assertLessEqual(n_runs, 2 * size // (2 * MIB))

    def test_no_memory_is_compacted_for_large_runs(self):
        # This takes memory page by page and gives back every other page, so that much is free, but nearly nothing in
        # one piece. The kernel must not compact it of its own accord.
        vmtest.run("sysctl", "--quiet", "vm.compaction_proactiveness=0")
        self.addCleanup(vmtest.run, "sysctl", "--quiet", "vm.compaction_proactiveness=20")
        available = heaps.available_memory()
        size = available // 10 * 7 // (2 * MIB) * (2 * MIB)
        wanted = available // 100 * 45  # more than is left in one piece
        efforts = []
        with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            memory[::PAGE] = b"x" * (size // PAGE)
            for offset in range(0, size, 2 * PAGE):
                memory.madvise(mmap.MADV_DONTNEED, offset, PAGE)
            # Another task may have compacted memory meanwhile, so this is tried up to three times.
            while not efforts or (efforts[-1] and len(efforts) < 3):
                before = effort()
                fd = self.allocate(SYSTEM, wanted)
                efforts.append({name: value - before[name]
                                for name, value in effort().items() if value != before[name]})
                n_pages, n_runs = heaps.buffer_size(fd) // PAGE, heaps.probe("map", fd)[1]
                os.close(fd)
                # If this fails, memory was not fragmented, and the test would prove nothing.
                self.assertGreater(n_runs, n_pages // 32)
        self.assertEqual(efforts[-1], {}, efforts)


def effort():
    """Counters of what the kernel did during allocations to get large runs of pages, or any pages."""
    counters = vmtest.keyed("/proc/vmstat")
    names = [name for name in counters if name.startswith("allocstall_")]
    names += ["compact_stall", "pgsteal_direct", "oom_kill"]
    return {name: counters[name] for name in names}


class Mappings(heaps.HeapTest):
    N_PAGES = 700  # more than the largest run of the system heap

    def map(self, fd, size, offset=0, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_SHARED):
        address = heaps.libc.mmap(None, size, prot, flags, fd, offset)
        if address in (None, ctypes.c_void_p(-1).value):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        self.addCleanup(heaps.libc.munmap, ctypes.c_void_p(address), ctypes.c_size_t(size))
        return address

    def test_parts_show_the_right_pages(self):
        for name in NAMES:
            with self.subTest(heap=name):
                fd = self.allocate(name, self.N_PAGES * PAGE)
                with heaps.Mapped(fd, self.N_PAGES * PAGE) as whole:
                    for page in range(self.N_PAGES):
                        struct.pack_into("I", whole.map, page * PAGE, page)
                for first, count in ((0, 1), (1, 1), (0, 511), (511, 2), (512, 1), (513, 187), (3, 690),
                                     (self.N_PAGES - 1, 1), (0, self.N_PAGES)):
                    with self.subTest(first=first, count=count), heaps.Mapped(fd, count * PAGE, first * PAGE) as part:
                        found = [struct.unpack_from("I", part.map, page * PAGE)[0] for page in range(count)]
                        self.assertEqual(found, list(range(first, first + count)))
                os.close(fd)

    def test_past_the_end_is_refused(self):
        for name in NAMES:
            with self.subTest(heap=name):
                fd = self.allocate(name, 4 * PAGE)
                for size, offset in ((5 * PAGE, 0), (4 * PAGE, PAGE), (PAGE, 4 * PAGE), (PAGE, 1 << 40)):
                    with self.subTest(size=size, offset=offset):
                        self.assert_errno(errno.EINVAL, self.map, fd, size, offset)

    def test_a_mapping_does_not_grow(self):
        for name in NAMES:
            with self.subTest(heap=name):
                fd = self.allocate(name, 4 * PAGE)
                address = self.map(fd, 2 * PAGE)
                moved = heaps.libc.mremap(address, 2 * PAGE, 5 * PAGE, 1)
                self.assertEqual(moved, ctypes.c_void_p(-1).value)
                self.assertEqual(ctypes.get_errno(), errno.EFAULT)

    def test_the_last_page_is_there_and_the_next_is_not(self):
        for name in NAMES:
            with self.subTest(heap=name):
                fd = self.allocate(name, 4 * PAGE)
                # This reserves one page more, so that no other mapping lies behind the buffer.
                room = self.map(-1, 5 * PAGE, prot=0, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
                fixed = heaps.libc.mmap(room, 4 * PAGE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED | 0x10, fd, 0)
                self.assertEqual(fixed, room)
                self.assertEqual(touch(room + 4 * PAGE - 1), 0)
                self.assertEqual(touch(room + 4 * PAGE), 11)

    def test_a_hole_is_not_filled(self):
        # A page that was unmapped stays unmapped when its neighbour is touched.
        for name in NAMES:
            with self.subTest(heap=name):
                fd = self.allocate(name, 3 * PAGE)
                address = self.map(fd, 3 * PAGE)
                heaps.libc.munmap(ctypes.c_void_p(address + PAGE), ctypes.c_size_t(PAGE))
                self.assertEqual(touch(address + PAGE), 11)
                self.assertEqual(touch(address + 2 * PAGE), 0)

    def test_a_private_mapping_is_refused(self):
        for name in NAMES:
            with self.subTest(heap=name):
                fd = self.allocate(name, PAGE)
                self.assert_errno(errno.EINVAL, self.map, fd, PAGE, flags=mmap.MAP_PRIVATE)

    def test_a_read_only_buffer_cannot_be_mapped_writable(self):
        for name in NAMES:
            with self.subTest(heap=name):
                fd = self.allocate(name, 2 * PAGE, fd_flags=os.O_RDONLY | os.O_CLOEXEC)
                self.assert_errno(errno.EACCES, self.map, fd, PAGE)
                address = self.map(fd, 2 * PAGE, prot=mmap.PROT_READ)
                self.assertEqual(ctypes.string_at(address, 2 * PAGE), bytes(2 * PAGE))
                self.assertNotEqual(heaps.libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), 3), 0)
                self.assertEqual(ctypes.get_errno(), errno.EACCES)

    def test_a_mapping_outlives_the_fd(self):
        for name in NAMES:
            with self.subTest(heap=name):
                fd = self.allocate(name, MIB)
                address = self.map(fd, MIB)
                os.close(fd)
                ctypes.memset(address, 7, MIB)
                self.assertEqual(ctypes.string_at(address, MIB), bytes([7]) * MIB)

    def test_two_processes_see_the_same(self):
        for name in NAMES:
            with self.subTest(heap=name):
                fd = self.allocate(name, MIB)
                heaps.fill(fd, 1)
                self.assertTrue(vmtest.Child(exchange, fd).result())
                self.assertTrue(heaps.is_filled(fd, 2))

    def test_the_kernel_sees_the_same(self):
        for name in NAMES:
            for size in (PAGE, 700 * PAGE, 16 * MIB):
                with self.subTest(heap=name, size=size):
                    fd = self.allocate(name, size)
                    self.assertEqual(heaps.probe("vmap", fd, expect=0, fill_with=3)[0], 1)
                    self.assertTrue(heaps.is_filled(fd, 3))
                    heaps.fill(fd, 4)
                    self.assertEqual(heaps.probe("vmap", fd, expect=4, fill_with=5)[0], 1)

    def test_a_device_gets_all_of_it(self):
        for name in NAMES:
            for size in (PAGE, 700 * PAGE, 16 * MIB):
                with self.subTest(heap=name, size=size):
                    fd = self.allocate(name, size)
                    n_segments, _, mapped_size = heaps.probe("map", fd)
                    self.assertEqual(mapped_size, size)
                    if name != SYSTEM:
                        self.assertEqual(n_segments, 1)


def touch(address):
    """The signal that ends a process that reads there; 0 if it ends without one."""
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.string_at(address, 1)
        os._exit(0)
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


def exchange(fd):
    seen = heaps.is_filled(fd, 1)
    heaps.fill(fd, 2)
    return seen


class Ioctl(heaps.HeapTest):
    def command(self, heap, command, data):
        """Calls the ioctl with this command and struct; the struct afterwards."""
        buffer = ctypes.create_string_buffer(bytes(data), len(data))
        with heaps.Heap(heap) as opened:
            if heaps.libc.ioctl(opened.fd, command, ctypes.addressof(buffer)) != 0:
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error))
        return buffer.raw

    def test_an_older_and_shorter_struct_works(self):
        for name in NAMES:
            with self.subTest(heap=name):
                data = self.command(name, heaps.alloc_command(16), struct.pack("QII", PAGE, 0, os.O_RDWR) + b"x" * 8)
                self.assertEqual(data[16:], b"x" * 8)
                fd = struct.unpack_from("QI", data)[1]
                self.assertEqual(heaps.buffer_size(fd), PAGE)
                os.close(fd)

    def test_a_newer_and_longer_struct_works(self):
        for name in NAMES:
            with self.subTest(heap=name):
                extra = b"from the future "
                data = self.command(name, heaps.alloc_command(40), struct.pack("QIIQ", PAGE, 0, os.O_RDWR, 0) + extra)
                self.assertEqual(data[24:], extra)
                fd = struct.unpack_from("QI", data)[1]
                self.assertEqual(heaps.buffer_size(fd), PAGE)
                os.close(fd)

    def test_a_struct_without_room_for_the_fd_is_einval(self):
        if heaps.core_is_ours():
            for size in (0, 8):
                with self.subTest(size=size):
                    self.assert_errno(errno.EINVAL, self.command, SYSTEM, heaps.alloc_command(size),
                                      struct.pack("Q", PAGE))

    def test_unknown_commands_are_einval(self):
        # As in the kernel's own core, only the number of a command counts, and not its type.
        request = struct.pack("QIIQ", PAGE, 0, os.O_RDWR, 0)
        for command in (heaps.iowr("H", 1, 24), heaps.iowr("H", 255, 24), 0x5401):
            with self.subTest(command=hex(command)):
                self.assert_errno(errno.EINVAL, self.command, SYSTEM, command, request)
        os.close(struct.unpack_from("QI", self.command(SYSTEM, heaps.iowr("G", 0, 24), request))[1])

    def test_a_command_that_passes_nothing_in_is_einval(self):
        only_out = heaps.alloc_command() & ~(1 << 30)
        self.assert_errno(errno.EINVAL, self.command, SYSTEM, only_out, struct.pack("QIIQ", PAGE, 0, os.O_RDWR, 0))

    def test_unknown_flags_are_einval(self):
        for name in NAMES:
            with self.subTest(heap=name):
                for flags in (os.O_NONBLOCK, 1 << 31, os.O_APPEND):
                    with self.subTest(fd_flags=flags):
                        self.assert_errno(errno.EINVAL, heaps.allocate, name, PAGE, fd_flags=os.O_RDWR | flags)
                for flags in (1, 1 << 63):
                    with self.subTest(heap_flags=flags):
                        self.assert_errno(errno.EINVAL, heaps.allocate, name, PAGE, heap_flags=flags)
                self.assert_errno(errno.EINVAL, heaps.allocate, name, PAGE, fd=1)

    def test_the_flags_are_those_of_the_fd(self):
        for name in NAMES:
            for access in (os.O_RDONLY, os.O_WRONLY, os.O_RDWR):
                for cloexec in (0, os.O_CLOEXEC):
                    with self.subTest(heap=name, access=access, cloexec=cloexec):
                        fd = self.allocate(name, PAGE, fd_flags=access | cloexec)
                        flags = int(vmtest.fdinfo(fd)["flags"], 8) & (os.O_ACCMODE | os.O_CLOEXEC)
                        self.assertEqual(flags, access | cloexec)

    def test_an_unwritable_argument_leaks_nothing(self):
        address = heaps.libc.mmap(None, PAGE, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        ctypes.memmove(address, struct.pack("QIIQ", PAGE, 0, os.O_RDWR, 0), 24)
        heaps.libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), 1)
        for name in NAMES:
            with self.subTest(heap=name), heaps.Heap(name) as heap:
                fds, buffers = vmtest.n_fds(), vmtest.live_buffers()
                for _ in range(50):
                    self.assertEqual(heaps.libc.ioctl(heap.fd, heaps.alloc_command(), address), -1)
                    self.assertEqual(ctypes.get_errno(), errno.EFAULT)
                self.assertEqual(vmtest.n_fds(), fds)
                self.assertEqual(vmtest.live_buffers(), buffers)
                self.assertEqual(heaps.libc.ioctl(heap.fd, heaps.alloc_command(), None), -1)
                self.assertEqual(ctypes.get_errno(), errno.EFAULT)

    def test_a_full_table_of_fds_leaks_nothing(self):
        for name in NAMES:
            with self.subTest(heap=name):
                buffers = vmtest.live_buffers()
                self.assertEqual(vmtest.Child(allocate_without_room, name).result(), errno.EMFILE)
                self.assertEqual(vmtest.live_buffers(), buffers)

    def test_a_buffer_can_have_a_name(self):
        for name in NAMES:
            with self.subTest(heap=name):
                fd = self.allocate(name, PAGE)
                text = ctypes.create_string_buffer(b"front camera")
                self.assertEqual(heaps.libc.ioctl(fd, 0x40086201, ctypes.addressof(text)), 0)
                self.assertEqual(vmtest.fdinfo(fd)["name"], "front camera")


def allocate_without_room(name):
    with heaps.Heap(name) as heap:
        highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))
        taken = []
        try:
            while True:
                taken.append(os.dup(0))
        except OSError:
            pass
        try:
            for _ in range(20):
                try:
                    heap.allocate(PAGE)
                    return 0
                except OSError as error:
                    result = error.errno
            return result
        finally:
            vmtest.close_fds(taken)


if __name__ == "__main__":
    vmtest.main()
