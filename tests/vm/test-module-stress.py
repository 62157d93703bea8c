#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=tristate append="cma=64M" files=heaps.py timeout=1200
"""Heaps to the last page and back, many at once, and killed in the middle."""

import errno
import os
import random
import resource
import time
import unittest

import heaps
import vmtest
from heaps import CMA, KIB, MIB, PAGE, SYSTEM

# The debug kernel is several times slower; it gets its turn with fewer (test-debug.py).
N_OPERATIONS = int(os.environ.get("N_OPERATIONS", "100000"))
N_PROCESSES = 8


class Exhaustion(heaps.HeapTest):
    def test_a_region_to_the_last_page_twice(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        available = heaps.cma_pages()
        for _ in range(2):
            fds = fill(CMA, (MIB, 64 * KIB, PAGE))
            self.assertEqual(sum(map(heaps.buffer_size, fds)), available * PAGE)
            self.assertEqual(heaps.cma_pages(), 0)
            vmtest.close_fds(fds)
            vmtest.wait_until(lambda: heaps.cma_pages() == available, what="pages are missing")
        fds = fill(CMA, (available * PAGE,))
        self.assertEqual(len(fds), 1)
        vmtest.close_fds(fds)

    def test_single_pages(self):
        available = heaps.cma_pages()
        os.close(self.allocate(CMA, PAGE))
        fds = fill(CMA, (16 * MIB, MIB))
        more = fill(CMA, (PAGE,))
        self.assertEqual(heaps.cma_pages(), 0)
        # Every other one, so that nothing larger fits in between.
        vmtest.close_fds(more[::2])
        vmtest.close_fds(fds + more[1::2])
        vmtest.wait_until(lambda: heaps.cma_pages() == available, what="pages are missing")


def fill(name, sizes):
    """Allocates of each size in turn until there is no more."""
    fds = []
    with heaps.Heap(name) as heap:
        for size in sizes:
            try:
                while True:
                    fds.append(heap.allocate(size))
            except OSError as error:
                assert error.errno == errno.ENOMEM, error
    return fds


class ManyAtOnce(heaps.HeapTest):
    def test_random_sizes_by_eight_processes(self):
        available = heaps.cma_pages()
        for name in (SYSTEM, CMA):
            with self.subTest(heap=name):
                children = [vmtest.Child(churn, name, seed, N_OPERATIONS // 2 // N_PROCESSES)
                            for seed in range(N_PROCESSES)]
                allocated = sum(child.result() for child in children)
                self.assertEqual(allocated, N_OPERATIONS // 2 // N_PROCESSES * N_PROCESSES)
        vmtest.wait_until(lambda: heaps.cma_pages() == available, what="pages are missing")


def churn(name, seed, count):
    """Allocates and frees, with a dozen buffers alive; each is written to at its ends, and was zero there before."""
    choice = random.Random(seed)
    fds = []
    n_allocated = 0
    with heaps.Heap(name) as heap:
        while n_allocated < count:
            size = choice.randint(1, MIB if choice.random() < 0.01 else 64 * KIB)
            try:
                fd = heap.allocate(size)
            except OSError as error:
                # Eight processes share the region; one that finds it fragmented makes room.
                assert error.errno == errno.ENOMEM and fds, error
                vmtest.close_fds(fds)
                fds = []
                continue
            n_allocated += 1
            if n_allocated % 16 == 0:
                with heaps.Mapped(fd, heaps.buffer_size(fd)) as mapped:
                    assert mapped.map[0] == 0 and mapped.map[-1] == 0
                    mapped.map[0] = mapped.map[-1] = 0xff
            fds.append(fd)
            if len(fds) > 12:
                os.close(fds.pop(choice.randrange(len(fds))))
    vmtest.close_fds(fds)
    return n_allocated


def drained_memory():
    """What is available, with what each CPU has in stock: that does not count as free, and is given back by compaction."""
    with open("/proc/sys/vm/compact_memory", "w", encoding="ascii") as file:
        file.write("1")
    return heaps.available_memory()


class Killed(heaps.HeapTest):
    SIZE = 512 * MIB

    def test_in_the_middle_of_an_allocation(self):
        """It ends where it is, and not when all would have been there."""
        begun = time.monotonic()
        os.close(heaps.allocate(SYSTEM, self.SIZE))
        whole = time.monotonic() - begun
        before = drained_memory()
        shares = []
        for part in (0.05, 0.1, 0.2, 0.3, 0.4):
            read_fd, write_fd = os.pipe()
            pid = os.fork()
            if pid == 0:
                with heaps.Heap(SYSTEM) as heap:
                    os.write(write_fd, b"begun")
                    heap.allocate(self.SIZE)
                    os.write(write_fd, b"done")
                    time.sleep(60)
            os.close(write_fd)
            os.read(read_fd, 5)
            begun = time.monotonic()
            time.sleep(whole * part)  # not to wait for something, but to be in the middle of it
            os.kill(pid, 9)
            killed = time.monotonic()
            os.waitpid(pid, 0)
            self.assertEqual(os.read(read_fd, 4), b"", "an allocation was over too soon to be interrupted")
            shares.append((time.monotonic() - begun) / whole)
            os.close(read_fd)
            vmtest.wait_until(lambda: drained_memory() > before - 32 * MIB, what="memory is missing")
            self.assertLess(time.monotonic() - killed, 10)
        self.assertLess(min(shares), 0.7, f"of an allocation's time: {shares}")


if __name__ == "__main__":
    vmtest.main()
