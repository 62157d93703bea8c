# SPDX-License-Identifier: GPL-2.0-only
"""What the benchmarks of the workers share: clients in control groups of their own, and how figures are printed."""

import contextlib
import os
import statistics
import time

import vmtest
from daemontest import DEADLINE, Peer, worker_pids
from workertest import CGROUPS, processes, thaw, write

PAGE = 4096
CONFIG = ("[Daemon]\nIdleTimeoutSec=infinity\nAllocationTimeoutSec=30min\n[Limits]\nClientBytesMax=infinity\n"
          "UserBytesMax=infinity\nSystemBytesMax=infinity\nKeepAvailable=0\n"
          "[Heap default_cma_region]\nClientBytesMax=100%\n")


def tell(name, value, budget="none"):
    print(f"{name}: {value} (budget {budget})", flush=True)


def tell_ratio(name, ones, others, budget="none"):
    """Prints the ratio of the medians of two lists of runs, with the lowest and highest ratio of a pair."""
    ratios = [one / other for one, other in zip(ones, others)]
    tell(name, f"{statistics.median(ones) / statistics.median(others):.2f} [{min(ratios):.2f} to {max(ratios):.2f}]",
         budget)


def tell_noise(name, values):
    """Prints the ratio of every other run of one side to the rest of them, which is noise."""
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
    """The connection of a new process in that control group."""
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


def timed(function):
    begun = time.perf_counter_ns()
    function()
    return time.perf_counter_ns() - begun
