#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=tristate append="cma=256M dma_heap.mem_accounting=1" memory=3072 timeout=1200
"""Heaps are used to the last page, by many processes at once, and by processes that are killed in an allocation."""

import errno
import os
import random
import resource
import time
import unittest

import heaps
import vmtest
from heaps import CMA, KIB, MIB, PAGE, SYSTEM

N_OPERATIONS = 100000
N_PROCESSES = 8


class Exhaustion(heaps.HeapTest):
    def test_a_region_can_be_filled_to_the_last_page_twice(self):
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

    def test_single_pages_fill_a_region_and_come_back(self):
        available = heaps.cma_pages()
        os.close(self.allocate(CMA, PAGE))
        fds = fill(CMA, (16 * MIB, MIB))
        more = fill(CMA, (PAGE,))
        self.assertEqual(heaps.cma_pages(), 0)
        # Every other page is freed first, so that nothing larger fits in between.
        vmtest.close_fds(more[::2])
        vmtest.close_fds(fds + more[1::2])
        vmtest.wait_until(lambda: heaps.cma_pages() == available, what="pages are missing")


def fill(name, sizes):
    """Allocates buffers of each size in turn until there is no room for another."""
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
    def test_eight_processes_allocate_random_sizes(self):
        available = heaps.cma_pages()
        for name in (SYSTEM, CMA):
            with self.subTest(heap=name), heaps.Cgroup("payer") as cgroup:
                children = [vmtest.Child(churn, name, seed, N_OPERATIONS // 2 // N_PROCESSES, cgroup)
                            for seed in range(N_PROCESSES)]
                allocated = sum(child.result() for child in children)
                self.assertEqual(allocated, N_OPERATIONS // 2 // N_PROCESSES * N_PROCESSES)
                vmtest.wait_until(lambda cgroup=cgroup: not cgroup.owes(), what="charges are left")
        vmtest.wait_until(lambda: heaps.cma_pages() == available, what="pages are missing")


def churn(name, seed, count, cgroup):
    """Allocates and frees, and keeps a dozen buffers. Some are checked to be zero at both ends, and written to
    there."""
    cgroup.enter()
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
    """The available memory. Compaction makes each CPU give back its stock of pages, which does not count as free."""
    with open("/proc/sys/vm/compact_memory", "w", encoding="ascii") as file:
        file.write("1")
    return heaps.available_memory()


class Killed(heaps.HeapTest):
    """A process is killed in the middle of an allocation, which ends at once and leaves nothing."""

    def kill_at(self, name, size, seconds):
        """Kills a process 'seconds' after it began to allocate. Returns the seconds until it was gone, None if it was
        done by then."""
        with heaps.Cgroup("killed") as cgroup:
            read_fd, write_fd = os.pipe()
            pid = os.fork()
            if pid == 0:
                cgroup.enter()
                with heaps.Heap(name) as heap:
                    os.write(write_fd, b"begun")
                    heap.allocate(size)
                    os.write(write_fd, b"done")
                    time.sleep(60)
            os.close(write_fd)
            os.read(read_fd, 5)
            time.sleep(seconds)  # this waits for nothing, but is to be in the middle of the allocation
            os.kill(pid, 9)
            killed = time.monotonic()
            os.waitpid(pid, 0)
            gone = time.monotonic() - killed
            done = os.read(read_fd, 4)
            os.close(read_fd)
            vmtest.wait_until(lambda: not cgroup.owes(), what="charges are left")
        return None if done else gone

    def seconds_for(self, name, size):
        def once():
            begun = time.monotonic()
            os.close(heaps.allocate(name, size))
            return time.monotonic() - begun
        return min(once() for _ in range(3))

    def test_a_kill_interrupts_an_allocation_of_memory(self):
        size = 512 * MIB
        whole = self.seconds_for(SYSTEM, size)
        before = drained_memory()
        shares = []
        for part in (0.05, 0.1, 0.2, 0.3, 0.4):
            with self.subTest(part=part):
                begun = time.monotonic()
                gone = self.kill_at(SYSTEM, size, whole * part)
                if gone is not None:
                    shares.append(part + gone / whole)
                vmtest.wait_until(lambda: drained_memory() > before - 32 * MIB, what="memory is missing")
                self.assertLess(time.monotonic() - begun, whole * part + 10)
        self.assertGreaterEqual(len(shares), 3, "the allocations were over too soon to be interrupted")
        self.assertLess(min(shares), 0.7, f"of an allocation's time: {shares}")

    def test_a_kill_interrupts_an_allocation_of_a_region(self):
        available = heaps.cma_pages()
        size = available * PAGE
        whole = self.seconds_for(CMA, size)
        n_killed = 0
        for part in (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6):
            with self.subTest(part=part):
                n_killed += self.kill_at(CMA, size, whole * part) is not None
                vmtest.wait_until(lambda: heaps.cma_pages() == available, what="pages are missing")
        self.assertGreaterEqual(n_killed, 3, "the allocations were over too soon to be interrupted")
        os.close(heaps.allocate(CMA, size))


if __name__ == "__main__":
    vmtest.main()
