#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock build=hooks append="cma=64M" timeout=1800
"""The cost of workers: their start, their memory, and what they add to a request and to systemctl stop.

Each figure is the ratio of the medians of both sides' runs, which alternate. The brackets have the lowest and the
highest ratio of two successive runs. 'A/A' compares two sides that are alike, which shows the noise."""

import contextlib
import statistics
import sys

import vmtest
from accountingtest import CMA
from benchtool import CONFIG, PAGE, cgroup, client, tell, tell_noise, tell_ratio, timed, use, workers_of
from daemontest import DEADLINE, configure, private_dirty, unit_cgroup
from workertest import CGROUPS

RUNS = 7

# The start of a worker

def bench_start():
    samples = {}
    with cgroup("/bench-start") as place:
        for _ in range(RUNS):
            run = {}
            said = vmtest.run("/usr/lib/dmaheapd/bench-worker", CGROUPS + place, "/dev/dma_heap/system", "60")
            for line in said.splitlines():
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
    """Compares an Allocate of a page with GetInfo, which the daemon answers at once and without a worker."""
    calls, infos = [], []
    with cgroup("/bench-hop") as place, client(place) as connection:
        for _ in range(RUNS):
            for times, call in ((calls, lambda: use(connection)),
                                (infos, lambda: connection.call("org.varlink.service.GetInfo"))):
                times.append(statistics.median(timed(call) for _ in range(100)))
    tell_ratio("Allocate of a page over GetInfo", calls, infos)
    tell_noise("Allocate of a page", calls)


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


def main():
    configure(CONFIG)
    vmtest.close_fds(vmtest.allocate(heap=CMA, size=PAGE).fds)
    names = sys.argv[1:] or ["start", "hop", "dirty", "stop"]
    for name in names:
        globals()["bench_" + name]()


main()
