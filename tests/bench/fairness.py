#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=1G" memory=3072 timeout=5400
"""Small requests of one client beside four other clients, each of which wants a lot in its own way.

Two of them never pause, which leaves neither of two processors idle: every other process waits for the scheduler. So
the same requests are timed beside two processes that use the heaps without a daemon; only what is above that is the
daemon's. A figure is the ratio of the medians of both sides' runs, which alternate. The brackets have the lowest and
the highest ratio of two successive runs. 'A/A' compares two sides that are alike, which shows the noise."""

import contextlib
import mmap
import os
import time

import heaps
import vmtest
from accountingtest import CMA, MIB
from benchtool import CONFIG, PAGE, cgroup, client, tell, tell_noise, tell_ratio, timed, use, workers_of
from daemontest import DEADLINE, configure
from workertest import freeze, write

RUNS = 6
COUNT = 200

KEPT_FREE = 900 * MIB


def p99(connection, count=COUNT):
    times = sorted(timed(lambda: use(connection)) for _ in range(count))
    return times[count * 99 // 100]


def enter(place):
    write(place, "cgroup.procs", 0)
    vmtest.become("user1")


def allocate_in_a_loop(place, size, role):
    enter(place)
    with vmtest.Varlink(timeout=DEADLINE) as connection:
        while True:
            reply = connection.call("Allocate", {"size": size, "role": role})
            # The buffer before may live for a moment longer, with its worker.
            assert reply.error in (None, "OutOfMemory", "QuotaExceeded"), reply
            vmtest.close_fds(reply.fds)


def allocate_without_daemon(place, size, name):
    write(place, "cgroup.procs", 0)
    with heaps.Heap(name) as heap:
        while True:
            with contextlib.suppress(OSError):
                os.close(heap.allocate(size))


def free_memory():
    return vmtest.meminfo("MemFree")


def busy_pages():
    """Keeps memory in use that can be moved, much of it in the region.

    It is freed and taken again, part by part, so that new memory takes the place of what was moved out of the
    region."""
    part = 16 * MIB
    parts = []
    while True:
        if free_memory() < KEPT_FREE:
            parts.pop(0).close()
            time.sleep(0.2)  # this process is to use memory, not a whole processor
        parts.append(mmap.mmap(-1, part))
        parts[-1][::PAGE] = b"x" * (part // PAGE)


@contextlib.contextmanager
def process(function, *arguments):
    child = vmtest.Child(function, *arguments)
    try:
        yield child
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):  # it ends only with an error
            child.result()
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            child.kill()
            os.waitpid(child.pid, 0)
            os.close(child.read_fd)


@contextlib.contextmanager
def strangers():
    """Two processes that do the same as two of the others, without a daemon."""
    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(cgroup(f"/bench-stranger-{n}")) for n in range(2)]
        stack.enter_context(process(allocate_without_daemon, places[0], 256 * MIB, "system"))
        stack.enter_context(process(allocate_without_daemon, places[1], 48 * MIB, CMA))
        yield places


@contextlib.contextmanager
def others():
    """Four clients that want a lot, each in its own way."""
    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(cgroup(f"/bench-other-{n}")) for n in range(4)]
        stack.enter_context(process(allocate_in_a_loop, places[0], 256 * MIB, "system"))
        stack.enter_context(process(allocate_in_a_loop, places[1], 48 * MIB, "contiguous"))
        silent = stack.enter_context(client(places[2]))
        for _ in range(4):
            silent.send("Allocate", {"size": PAGE, "count": 253})
        frozen = stack.enter_context(client(places[3]))
        frozen.call("ListHeaps")
        freeze(places[3])
        frozen.send("Allocate", {"size": PAGE})
        vmtest.wait_until(lambda: workers_of(places[3]), DEADLINE, "the frozen client has a worker")
        yield places


def n_migrated():
    return vmtest.keyed("/proc/vmstat")["pgmigrate_success"]


def main():
    configure(CONFIG)
    vmtest.close_fds(vmtest.allocate(heap=CMA, size=PAGE).fds)
    sides = {contextlib.nullcontext: [], strangers: [], others: []}
    migrated = 0
    with process(busy_pages), cgroup("/bench-fifth") as place, client(place, user="user2") as connection:
        vmtest.wait_until(lambda: free_memory() < KEPT_FREE + 64 * MIB, 10 * DEADLINE, "memory is in use")
        use(connection)
        for run in range(RUNS):
            for side in sorted(sides, key=lambda side: side.__name__, reverse=run % 2):
                with side():
                    before = n_migrated()
                    p99(connection, 30)
                    sides[side].append(p99(connection))
                    migrated += n_migrated() - before if side is others else 0
            print("# p99 in ms:", *(f"{side.__name__} {values[-1] / 1e6:.1f}" for side, values in sides.items()),
                  flush=True)
    idle, beside_strangers, beside_others = sides.values()
    tell_ratio("p99 of 4 KiB beside four others over idle", beside_others, idle, 2)
    tell_ratio("p99 of 4 KiB beside processes without a daemon over idle", beside_strangers, idle)
    tell_ratio("p99 of 4 KiB beside four others over beside processes without a daemon", beside_others,
               beside_strangers)
    tell_noise("p99 of 4 KiB", idle)
    tell("pages that were moved meanwhile", migrated)


main()
