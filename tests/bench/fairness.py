#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" files=guest/benchtool.py,../vm/daemontest.py,../vm/accountingtest.py,../vm/workertest.py timeout=5400
"""Who waits for whom: a client's small requests beside four others that want a lot, each in its way.

The figure is a ratio of medians of runs in turn; in brackets the lowest and the highest ratio of two runs that came one after
the other. 'A/A' is the same of two sides that are alike: that much is noise."""

import contextlib
import mmap
import os
import time

import vmtest
from accountingtest import CMA, MIB
from benchtool import CONFIG, PAGE, cgroup, client, tell, tell_noise, tell_ratio, timed, use, workers_of
from daemontest import DEADLINE, configure
from workertest import freeze, write

RUNS = 6
COUNT = 200


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
            # The last buffer may live for a moment longer, with its worker.
            assert reply.error in (None, "OutOfMemory", "QuotaExceeded"), reply
            vmtest.close_fds(reply.fds)


def busy_pages():
    """Memory that is in use and can be moved, also where the region is: it is let go, a part at a time, and taken again."""
    with open("/proc/meminfo", encoding="ascii") as file:
        free = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemFree"))
    part = 16 * MIB
    parts = []
    while True:
        if len(parts) * part > free - 700 * MIB:
            parts.pop(0).close()
        parts.append(mmap.mmap(-1, part))
        parts[-1][::PAGE] = b"x" * (part // PAGE)
        time.sleep(0.2)  # it is to be in use, not to take a processor for itself


@contextlib.contextmanager
def process(function, *arguments):
    child = vmtest.Child(function, *arguments)
    try:
        yield child
        if os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):  # it never ends of its own accord
            child.result()
    finally:
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            child.kill()
            os.waitpid(child.pid, 0)
            os.close(child.read_fd)


@contextlib.contextmanager
def others():
    """Four clients that want a lot, each in its way."""
    with contextlib.ExitStack() as stack:
        places = [stack.enter_context(cgroup(f"/bench-other-{n}")) for n in range(4)]
        stack.enter_context(process(busy_pages))
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
    with open("/proc/vmstat", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("pgmigrate_success "))


def main():
    configure(CONFIG)
    vmtest.close_fds(vmtest.allocate(heap=CMA, size=PAGE).fds)
    idle, busy = [], []
    migrated = 0
    with cgroup("/bench-fifth") as place, client(place, user="user2") as connection:
        use(connection)
        for run in range(RUNS):
            for is_busy in (True, False) if run % 2 else (False, True):
                if not is_busy:
                    idle.append(p99(connection))
                    continue
                with others():
                    before = n_migrated()
                    p99(connection, 30)
                    busy.append(p99(connection))
                    migrated += n_migrated() - before
            print(f"# p99 in ms: idle {idle[-1] / 1e6:.1f}, beside the others {busy[-1] / 1e6:.1f}", flush=True)
    tell_ratio("p99 of 4 KiB beside four others over idle", busy, idle, 2)
    tell_noise("p99 of 4 KiB", idle)
    tell("pages that were moved meanwhile", migrated)


main()
