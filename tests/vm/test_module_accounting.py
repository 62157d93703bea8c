#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=tristate append="cma=64M dma_heap.mem_accounting=1" timeout=900
"""With mem_accounting, buffers are charged to the control group of the allocating process, which is refused and not
killed."""

import errno
import mmap
import os
import resource
import time

import heaps
import vmtest
from heaps import CGROUP_ROOT, CMA, MIB, PAGE, STOCK, SYSTEM, Cgroup, in_cgroup

class Memory(heaps.HeapTest):
    def test_the_parameter_is_on(self):
        with open("/sys/module/dma_heap/parameters/mem_accounting", encoding="ascii") as file:
            self.assertEqual(file.read(), "Y\n")
        self.assertEqual(os.stat("/sys/module/dma_heap/parameters/mem_accounting").st_mode & 0o777, 0o444)

    def test_buffers_are_charged_to_the_allocating_cgroup_until_they_are_freed(self):
        for size, count in ((PAGE, 65536), (100 * PAGE, 128), (16 * MIB, 4), (64 * MIB, 1)):
            with self.subTest(size=size), Cgroup("payer") as cgroup:
                total = size * count
                increase, after = vmtest.Child(charged, cgroup, size, count).result()
                self.assertGreaterEqual(increase, total * 0.99 - STOCK)
                self.assertLessEqual(increase, total * 1.01 + STOCK)
                self.assertLessEqual(after, STOCK)

    def test_over_the_limit_is_enomem_and_no_process_is_killed(self):
        # The first is more than the limit. The second is less, but more than is left.
        for size in (96 * MIB, 56 * MIB):
            with self.subTest(size=size), Cgroup("payer") as cgroup:
                cgroup.write("memory.max", 64 * MIB)
                errors = in_cgroup(cgroup, allocate_too_much, 200, size, 16 * MIB)
                self.assertEqual(errors, {errno.ENOMEM: 200})
                self.assertEqual(cgroup.keyed("memory.events")["oom_kill"], 0)
                self.assertLess(int(cgroup.read("memory.current")), 32 * MIB)

    def test_a_size_over_the_limit_is_refused_before_memory_is_taken(self):
        # This holds for the limit of a control group further up, too.
        with Cgroup("payer") as cgroup, Cgroup("payer/below") as below:
            cgroup.write("memory.max", 64 * MIB)
            self.assertEqual(in_cgroup(below, allocate_too_much, 3, 96 * MIB), {errno.ENOMEM: 3})
            self.assertEqual(cgroup.keyed("memory.events")["max"], 0)

    def test_a_region_serves_a_cgroup_whose_memory_is_at_its_limit(self):
        # The pages of a region are not charged as memory, but what the kernel needs for each buffer is.
        with Cgroup("payer") as cgroup:
            cgroup.write("memory.max", 24 * MIB)
            self.assertEqual(vmtest.Child(allocate_at_the_limit, cgroup, 1000).result(), 1000)
            self.assertGreater(cgroup.keyed("memory.events")["max"], 0)
            self.assertEqual(cgroup.keyed("memory.events")["oom_kill"], 0)

    def test_buffers_fill_the_limit_and_the_next_one_is_enomem(self):
        with Cgroup("payer") as cgroup:
            cgroup.write("memory.max", 64 * MIB)
            n_buffers, error = in_cgroup_warm(cgroup, MIB, 64)
            self.assertGreater(n_buffers, 40)
            self.assertEqual(error, errno.ENOMEM)
            self.assertEqual(cgroup.keyed("memory.events")["oom_kill"], 0)

    def test_small_buffers_fill_the_limit_and_no_process_is_killed(self):
        # What the kernel needs for a buffer besides its pages is charged, too, and could invoke the OOM killer.
        with Cgroup("payer") as cgroup:
            cgroup.write("memory.max", 24 * MIB)
            n_buffers, error = in_cgroup_warm(cgroup, 16 * PAGE, 24 * 16)
            self.assertGreater(n_buffers, 40)
            self.assertEqual(error, errno.ENOMEM)
            self.assertEqual(cgroup.keyed("memory.events")["oom_kill"], 0)

    def test_memory_that_can_be_reclaimed_makes_way(self):
        with Cgroup("payer") as cgroup:
            cgroup.write("memory.max", 64 * MIB)
            self.assertEqual(in_cgroup(cgroup, allocate_beside_lazily_freed), (1, 0))


def allocate_beside_lazily_freed():
    """Allocates one buffer in a control group full of pages that the kernel may take back. Without swap, MADV_FREE
    makes such."""
    size = 40 * MIB
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[::PAGE] = b"x" * (size // PAGE)
        memory.madvise(mmap.MADV_FREE)
        return allocate_until_refused(48 * MIB, count=1)


def charged(cgroup, size, count):
    """By how much the control group's memory grows with 'count' buffers, and by how much it is larger after they were
    freed.

    The process gets the memory that it needs for itself before it enters the control group."""
    def current():
        return int(cgroup.read("memory.current"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 64, count + 64))
    with heaps.Heap(SYSTEM) as heap:
        fds = [heap.allocate(size) for _ in range(count)]
        vmtest.close_fds(fds)
        cgroup.enter()
        before = current()
        for i in range(count):
            fds[i] = heap.allocate(size)
        increase = current() - before
        vmtest.close_fds(fds)
    deadline = time.monotonic() + 10
    while current() - before > STOCK and time.monotonic() < deadline:
        time.sleep(0.05)
    return increase, current() - before


def allocate_too_much(count, size, beside=PAGE):
    errors = {}
    with heaps.Heap(SYSTEM) as heap, mmap.mmap(-1, beside, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory[::PAGE] = b"x" * (beside // PAGE)
        for _ in range(count):
            try:
                os.close(heap.allocate(size))
                number = 0
            except OSError as error:
                number = error.errno
            errors[number] = errors.get(number, 0) + 1
    return errors


def allocate_until_refused(size, name=SYSTEM, count=1 << 20):
    """Allocates up to 'count' buffers. Returns their number, and the errno that ended it or 0."""
    fds = []
    try:
        with heaps.Heap(name) as heap:
            while len(fds) < count:
                fds.append(heap.allocate(size))
            return count, 0
    except OSError as error:
        return len(fds), error.errno
    finally:
        vmtest.close_fds(fds)


def in_cgroup_warm(cgroup, size, count):
    """allocate_until_refused() in a process that has done the same before, outside the control group.

    So Python has its own memory already. If Python itself went over the limit, the kernel would kill it, rightly."""
    def child():
        allocate_until_refused(size, count=count)
        cgroup.enter()
        return allocate_until_refused(size)
    return vmtest.Child(child).result()


def allocate_at_the_limit(cgroup, count):
    """Allocates buffers of a region in a control group with next to no memory left. Returns their number."""
    with heaps.Heap(SYSTEM) as memory, heaps.Heap(CMA) as region:
        vmtest.close_fds([region.allocate(PAGE) for _ in range(2 * count)])
        # This copies each page that the process still shares with its parent; later there would be no memory for it.
        assert heaps.libc.mlockall(1) == 0
        cgroup.enter()
        filled = []
        for size in (MIB, PAGE):
            try:
                while len(filled) < count:
                    filled.append(memory.allocate(size))
            except OSError as error:
                assert error.errno == errno.ENOMEM, error
        # This leaves some memory for Python, but far less than a KiB for each buffer.
        vmtest.close_fds(filled[-64:])
        del filled[-64:]
        fds = [region.allocate(PAGE) for _ in range(count)]
        vmtest.close_fds(fds)
        vmtest.close_fds(filled)
        return len(fds)


class Dmem(heaps.HeapTest):
    def test_there_is_a_region_for_each_name(self):
        with open(f"{CGROUP_ROOT}/dmem.capacity", encoding="ascii") as file:
            regions = {line.split()[0] for line in file}
        self.assertLessEqual({CMA, "reserved"}, regions)

    def test_usage_is_exact(self):
        with Cgroup("payer") as cgroup:
            for size in (1, PAGE, 3 * PAGE + 1, 16 * MIB):
                with self.subTest(size=size):
                    rounded = -(-size // PAGE) * PAGE
                    self.assertEqual(in_cgroup(cgroup, usage_with, cgroup, size, CMA), rounded)
                    self.assertEqual(cgroup.keyed("dmem.current").get(CMA, 0), 0)

    def test_the_limit_holds_for_both_names_of_the_region(self):
        for limited in (CMA, "reserved"):
            for used in (CMA, "reserved"):
                with self.subTest(limited=limited, used=used), Cgroup("payer") as cgroup:
                    cgroup.write("dmem.max", f"{limited} {8 * MIB}")
                    self.assertEqual(in_cgroup(cgroup, allocate_until_refused, MIB, used), (8, errno.ENOMEM))
                    self.assertEqual(in_cgroup(cgroup, allocate_until_refused, MIB + 1, used), (7, errno.ENOMEM))
                    self.assertEqual(in_cgroup(cgroup, allocate_until_refused, 9 * MIB, used), (0, errno.ENOMEM))
                    self.assertEqual(cgroup.keyed("dmem.current").get(limited, 0), 0)

    def test_a_failed_allocation_is_not_charged(self):
        with Cgroup("payer") as cgroup:
            self.assertEqual(in_cgroup(cgroup, allocate_until_refused,
                                       heaps.cma_pages("total") * PAGE + 1, CMA), (0, errno.ENOMEM))
            self.assertEqual(cgroup.keyed("dmem.current").get(CMA, 0), 0)

    def test_a_size_beyond_all_bounds_is_not_charged(self):
        # The kernel's counter adds before it compares, so these sizes would look negative.
        with Cgroup("payer") as cgroup:
            cgroup.write("dmem.max", f"{CMA} {8 * MIB}")
            def attempts():
                cgroup.enter()
                with heaps.Heap(CMA) as heap:
                    fd = heap.allocate(MIB)
                    for size in ((1 << 64) - PAGE, (1 << 64) - MIB, 1 << 63, 1 << 62):
                        try:
                            heap.allocate(size)
                            return "allocated", size
                        except OSError as error:
                            if error.errno != errno.ENOMEM:
                                return error.errno, size
                    current = cgroup.keyed("dmem.current")[CMA]
                    os.close(fd)
                    return current
            self.assertEqual(vmtest.Child(attempts).result(), MIB)
            self.assertEqual(cgroup.keyed("dmem.current").get(CMA, 0), 0)

    def test_the_charge_stays_with_the_cgroup_that_allocated(self):
        with Cgroup("payer") as cgroup:
            def allocate_and_leave():
                cgroup.enter()
                fd = heaps.allocate(CMA, MIB)
                with open(f"{CGROUP_ROOT}/cgroup.procs", "w", encoding="ascii") as file:
                    file.write("0")
                current = cgroup.keyed("dmem.current")[CMA]
                os.close(fd)
                return current
            self.assertEqual(vmtest.Child(allocate_and_leave).result(), MIB)
            self.assertEqual(cgroup.keyed("dmem.current").get(CMA, 0), 0)


def usage_with(cgroup, size, name):
    fd = heaps.allocate(name, size)
    current = cgroup.keyed("dmem.current")[name]
    os.close(fd)
    return current


if __name__ == "__main__":
    vmtest.main()
