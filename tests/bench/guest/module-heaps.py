#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Times what programs and importers do with heaps: a line 'HEAP OPERATION BYTES NANOSECONDS' each, the median of some."""

import os
import statistics
import time

import heaps
from heaps import CMA, KIB, MIB, PAGE, SYSTEM

# Bytes, and how often.
ALLOCATE = ((4 * KIB, 3000), (64 * KIB, 1500), (MIB, 150), (16 * MIB, 15), (256 * MIB, 5))
TOUCH = ((64 * KIB, 500), (16 * MIB, 10))
VMAP = ((64 * KIB, 500), (16 * MIB, 30))


def timed(function, count):
    """The median of single calls; the first of them warm the caches and do not count."""
    for _ in range(1 + count // 10):
        function()
    samples = []
    for _ in range(count):
        start = time.perf_counter_ns()
        function()
        samples.append(time.perf_counter_ns() - start)
    return statistics.median(samples)


def allocate_and_free(heap, size):
    os.close(heap.allocate(size))


def touch(fd, size):
    with heaps.Mapped(fd, size) as mapped:
        # A byte of each page: a slice with a step is one loop in C.
        mapped.map[::PAGE]  # pylint: disable=pointless-statement


def measure(name):
    with heaps.Heap(name) as heap:
        for size, count in ALLOCATE:
            yield "allocate+free", size, timed(lambda s=size: allocate_and_free(heap, s), count)
        for size, count in TOUCH:
            fd = heap.allocate(size)
            yield "mmap+touch", size, timed(lambda f=fd, s=size: touch(f, s), count)
            os.close(fd)
        for size, count in VMAP:
            fd = heap.allocate(size)
            yield "vmap", size, statistics.median(heaps.probe("vmap_time", fd)[2] for _ in range(count))
            os.close(fd)


heaps.load_heaps()
for heap_name in (SYSTEM, CMA):
    for operation, n_bytes, nanoseconds in measure(heap_name):
        print(heap_name, operation, n_bytes, int(nanoseconds), flush=True)
