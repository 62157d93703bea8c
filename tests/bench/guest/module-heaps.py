#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Times what programs and importers do with heaps. Prints a line 'HEAP OPERATION BYTES NANOSECONDS' for each median."""

import fcntl
import os
import statistics
import struct
import time

import heaps
from heaps import CMA, KIB, MIB, PAGE, SYSTEM

COMMAND = heaps.alloc_command()
FIOCLEX = 0x5451

# Bytes, and the number of times.
ALLOCATE = ((4 * KIB, 3000), (64 * KIB, 1500), (MIB, 150), (16 * MIB, 15), (256 * MIB, 5))
TOUCH = ((64 * KIB, 500), (16 * MIB, 10))
VMAP = ((64 * KIB, 500), (16 * MIB, 30))


def timed(function, count):
    """The median time of a call. The first calls only warm the caches."""
    for _ in range(1 + count // 10):
        function()
    samples = []
    for _ in range(count):
        start = time.perf_counter_ns()
        function()
        samples.append(time.perf_counter_ns() - start)
    return statistics.median(samples)


def allocate_and_free(heap, request):
    struct.pack_into("I", request, 8, 0)  # has the fd of the last allocation
    fcntl.ioctl(heap.fd, COMMAND, request)
    os.close(struct.unpack_from("I", request, 8)[0])


def nothing(heap, request):
    """The time of an ioctl that reaches no driver (FIOCLEX): Python and the way into the kernel."""
    struct.pack_into("I", request, 8, 0)
    fcntl.ioctl(heap.fd, FIOCLEX, request)
    struct.unpack_from("I", request, 8)


def touch(fd, size):
    with heaps.Mapped(fd, size) as mapped:
        # A byte of each page: a slice with a step is one loop in C.
        mapped.map[::PAGE]  # pylint: disable=pointless-statement


def measure(name):
    with heaps.Heap(name) as heap:
        for size, count in ALLOCATE:
            # For a contiguous buffer the kernel drains each CPU's lists of pages, which takes long.
            count = count if name == SYSTEM else max(5, count // 10)
            request = bytearray(struct.pack("QIIQ", size, 0, os.O_RDWR | os.O_CLOEXEC, 0))
            own = timed(lambda r=request: nothing(heap, r), 300)
            yield "allocate+free", size, timed(lambda r=request: allocate_and_free(heap, r), count) - own
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
