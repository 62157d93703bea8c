#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock build=hooks append="cma=64M" files=../vm/daemontest.py,../vm/accountingtest.py,../vm/workertest.py timeout=1800
"""Workers: how soon one is there, what it costs, and who waits for whom.

Each figure is a ratio of medians of runs in turn; in brackets the lowest and the highest ratio of two runs that came one after
the other. 'A/A' is the same of two sides that are alike: that much is noise."""

import contextlib
import mmap
import os
import statistics
import sys
import time

import vmtest
from accountingtest import CMA, MIB
from daemontest import DEADLINE, Peer, configure, private_dirty, unit_cgroup, worker_pids
from workertest import CGROUPS, freeze, processes, thaw, write

RUNS = 7
PAGE = 4096
CONFIG = ("[Daemon]\nIdleTimeoutSec=infinity\nAllocationTimeoutSec=30min\n[Limits]\nClientBytesMax=infinity\n"
          "UserBytesMax=infinity\nSystemBytesMax=infinity\nKeepAvailable=0\n"
          "[Heap default_cma_region]\nClientBytesMax=100%\n")


def tell(name, value, budget="none"):
    print(f"{name}: {value} (budget {budget})", flush=True)


def tell_ratio(name, ones, others, budget="none"):
    """Of the medians of two lists of runs."""
    ratios = [one / other for one, other in zip(ones, others)]
    tell(name, f"{statistics.median(ones) / statistics.median(others):.2f} [{min(ratios):.2f} to {max(ratios):.2f}]", budget)


def tell_noise(name, values):
    """One side's runs, every other against the rest."""
    tell(f"{name}, A/A", f"{statistics.median(values[::2]) / statistics.median(values[1::2]):.2f}")


@contextlib.contextmanager
def cgroup(name):
    os.mkdir(CGROUPS + name)
    try:
        yield name
    finally:
        with contextlib.suppress(OSError):
            thaw(name)
            write(name, "cgroup.kill", 1)
        vmtest.wait_until(lambda: not processes(name), DEADLINE, f"{name} is empty")
        os.rmdir(CGROUPS + name)


@contextlib.contextmanager
def client(place, user="user1"):
    """The connection of a process of that control group."""
    peer = Peer(user=user, cgroup=place, then=["/usr/bin/sleep", "infinity"])
    try:
        yield peer.connection
    finally:
        peer.end()


def use(connection, **parameters):
    reply = connection.call("Allocate", {"size": PAGE, **parameters})
    vmtest.close_fds(reply.fds)
    assert reply.error is None, reply


def workers_of(place):
    return set(worker_pids()) & set(processes(place))


# How soon there is one

def bench_start():
    samples = {}
    with cgroup("/bench-start") as place:
        for _ in range(RUNS):
            run = {}
            for line in vmtest.run("/usr/lib/dmaheapd/bench-worker", CGROUPS + place, "/dev/dma_heap/system", "60").splitlines():
                kind, nanoseconds = line.split()
                run.setdefault(kind, []).append(int(nanoseconds))
            for kind, values in run.items():
                samples.setdefault(kind, []).append(statistics.median(values))
    tell_ratio("worker start over a bare clone3 of the same", samples["worker"], samples["bare"], 2)
    tell_ratio("worker start, A/A", samples["again"], samples["bare"])
    tell_ratio("hop to a worker over a hop to a bare process", samples["hop"], samples["echo"])
    tell_noise("hop", samples["echo"])
    tell_ratio("worker start over a hop to one that is there", samples["worker"], samples["hop"])


def bench_hop():
    """What a worker adds, and all else: an Allocate of a page, over a call that the daemon answers without looking at anything."""
    calls, infos = [], []
    with cgroup("/bench-hop") as place, client(place) as connection:
        for _ in range(RUNS):
            for times, call in ((calls, lambda: use(connection)), (infos, lambda: connection.call("org.varlink.service.GetInfo"))):
                times.append(statistics.median(timed(call) for _ in range(100)))
    tell_ratio("Allocate of a page over GetInfo", calls, infos)
    tell_noise("Allocate of a page", calls)


def timed(function):
    begun = time.perf_counter_ns()
    function()
    return time.perf_counter_ns() - begun


def bench_dirty():
    values = []
    with cgroup("/bench-dirty") as place, client(place) as connection:
        while len(values) < RUNS:
            use(connection, count=1 + 40 * len(values))
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                values += [private_dirty(pid) // 1024 for pid in workers_of(place)]
    tell("private dirty memory of a worker, KiB", f"{statistics.median(values)} [{min(values)} to {max(values)}]", 300)


# systemctl stop

def stop_time(with_worker):
    unit = "bench-stop.service"
    vmtest.start_unit(unit, "sleep", "infinity")
    with client(unit_cgroup(unit)) as connection:
        place = unit_cgroup(unit)
        use(connection)
        vmtest.wait_until(lambda: not workers_of(place), DEADLINE, "no worker")
        if with_worker:
            while not workers_of(place):
                use(connection)
        return timed(lambda: vmtest.stop_unit(unit))


def bench_stop():
    sides = {True: [], False: []}
    for run in range(2 * RUNS):
        for side in (True, False) if run % 2 else (False, True):
            sides[side].append(stop_time(side))
    tell_ratio("systemctl stop with a worker over without", sides[True], sides[False], 1.5)
    tell_noise("systemctl stop", sides[False])


# Fairness

def p99(connection, count=300):
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
            assert reply.error in (None, "OutOfMemory"), reply
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
        time.sleep(0.05)


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


def bench_fairness():
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
    tell_ratio("p99 of 4 KiB beside four others over idle", busy, idle, 2)
    tell_noise("p99 of 4 KiB", idle)
    tell("pages that were moved meanwhile", migrated)


def main():
    configure(CONFIG)
    vmtest.close_fds(vmtest.allocate(heap=CMA, size=PAGE).fds)
    names = sys.argv[1:] or ["start", "hop", "dirty", "stop", "fairness"]
    for name in names:
        globals()["bench_" + name]()


main()
