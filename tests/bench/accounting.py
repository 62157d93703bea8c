#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock timeout=3600
"""The cost of accounting: requests beside 20,000 buffers, a census of them, and clients that ask at their limits.

Each figure is the ratio of the medians of both sides' RUNS runs, which alternate. The brackets have the lowest and the
highest ratio of two successive runs. The lines 'A/A' compare every other run of the first side with the rest of them,
which shows the noise."""

import os
import re
import resource
import socket
import statistics
import time

import vmtest
from accountingtest import CGROUPS, PAGE, kernel_buffers
from daemontest import configure

RUNS = 6
REQUESTS = 400
CLIENTS = 500
EACH = 40
HAMMERS = 10
SECONDS = 10
HOME = "/bench-measured.scope"
CONFIG = f"""[Daemon]
IdleTimeoutSec=1h
[Limits]
ClientBytesMax={EACH * PAGE}
UserBytesMax=infinity
SystemBytesMax=infinity
[Client bench-measured.scope]
ClientBytesMax=infinity
ClientBuffersMax=infinity
"""


def move_to(cgroup):
    with open(f"{CGROUPS}{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))


def allocate(connection, **parameters):
    reply = connection.call("Allocate", {"size": PAGE} | parameters)
    if reply.error:
        raise AssertionError(reply)
    return reply.fds


def usage(connection):
    return connection.call("GetUsage")["client"]["buffersUsed"]


def request(connection):
    """The nanoseconds of one request."""
    start = time.perf_counter_ns()
    fds = allocate(connection)
    taken = time.perf_counter_ns() - start
    vmtest.close_fds(fds)
    return taken


def requests(connection):
    """The median of REQUESTS requests. A census first removes the records of the run before."""
    usage(connection)
    for _ in range(REQUESTS // 10):
        request(connection)
    return statistics.median(request(connection) for _ in range(REQUESTS))


def fill():
    """Allocates EACH buffers for each of CLIENTS clients. This process is one after the other of them."""
    fds = []
    for n in range(CLIENTS):
        move_to(f"/bench-{n}.scope")
        with vmtest.Varlink() as connection:
            fds += allocate(connection, count=EACH)
    move_to(HOME)
    return fds


def workers_gone():
    """Whether only the client that is measured has a worker. The others' workers end when they are idle."""
    for n in range(CLIENTS):
        with open(f"{CGROUPS}/bench-{n}.scope/cgroup.procs", encoding="ascii") as file:
            if file.read():
                return False
    return True


def censuses(connection):
    """The median of the seconds that a call takes that needs a census, when the census may begin at once."""
    taken = []
    for _ in range(10):
        time.sleep(1.1)
        start = time.perf_counter()
        usage(connection)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def logged_censuses():
    """The seconds that the daemon has spent in censuses since its start."""
    return sum(map(int, re.findall(r"A census took (\d+) us", vmtest.journal()))) / 1e6


def hammer(n, control):
    """Holds all that it may have. A byte on the socket makes it ask for more until the next byte, which it answers."""
    move_to(f"/bench-hammer{n}.scope")
    with vmtest.Varlink() as connection:
        fds = allocate(connection, count=EACH)
        control.send(b"r")
        while control.recv(1):
            control.setblocking(False)
            while True:
                reply = connection.call("Allocate", {"size": PAGE})
                if reply.error != "QuotaExceeded":
                    raise AssertionError(reply)
                try:
                    control.recv(1)
                    break
                except BlockingIOError:
                    pass
            control.setblocking(True)
            control.send(b"r")
    vmtest.close_fds(fds)


class Hammers:
    def __init__(self):
        self.controls, self.children = [], []
        for n in range(HAMMERS):
            os.mkdir(f"{CGROUPS}/bench-hammer{n}.scope")
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.children.append(vmtest.Child(self.run, n, ours, theirs))
            theirs.close()
            self.controls.append(ours)
        for control in self.controls:
            control.recv(1)

    def run(self, n, ours, theirs):
        for control in (*self.controls, ours):
            control.close()
        hammer(n, theirs)

    def start(self):
        for control in self.controls:
            control.send(b"g")

    def stop(self):
        for control in self.controls:
            control.send(b"s")
        for control in self.controls:
            control.recv(1)

    def end(self):
        for control, child in zip(self.controls, self.children):
            control.close()
            child.result()


def requests_for(connection, seconds):
    """Makes requests for that time. Returns their median and their 95th percentile."""
    usage(connection)
    taken, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        taken.append(request(connection))
    return statistics.median(taken), statistics.quantiles(taken, n=20)[-1]


def tell(name, base, others, budget):
    pairs = [other / one for one, other in zip(base, others)]
    ratio = statistics.median(others) / statistics.median(base)
    print(f"{name}: {ratio:.2f} [{min(pairs):.2f} to {max(pairs):.2f}] (budget {budget})")
    print(f"{name}, A/A: {statistics.median(base[::2]) / statistics.median(base[1::2]):.2f} (budget none)", flush=True)


def measure_buffers(connection):
    none, many = [], []
    for _ in range(RUNS):
        none.append(requests(connection))
        fds = fill()
        vmtest.wait_until(workers_gone, 60, "the fillers' workers have ended")
        assert len(kernel_buffers()) == CLIENTS * EACH + HAMMERS * EACH, len(kernel_buffers())
        many.append(requests(connection))
        if len(many) < RUNS:
            vmtest.close_fds(fds)
    tell(f"a request beside {CLIENTS * EACH} buffers of {CLIENTS} clients, over one beside none", none, many, 1.1)
    return fds


def measure_hammers(connection, hammers, what, ratio_budget, share_budget):
    """Compares requests beside clients that ask without end with requests beside the same clients at rest."""
    quiet, busy, quiet_late, busy_late, shares = [], [], [], [], []
    for _ in range(RUNS):
        median, late = requests_for(connection, SECONDS)
        quiet.append(median)
        quiet_late.append(late)
        before, start = logged_censuses(), time.monotonic()
        hammers.start()
        median, late = requests_for(connection, SECONDS)
        hammers.stop()
        busy.append(median)
        busy_late.append(late)
        shares.append((logged_censuses() - before) / (time.monotonic() - start) * 100)
    beside = f"beside {HAMMERS} that hammer at their limits{what}"
    tell(f"a request of a client below its limit {beside}, over one beside none", quiet, busy, ratio_budget)
    tell(f"the slowest twentieth of them {beside}", quiet_late, busy_late, "none")
    print(f"censuses {beside}, percent of the time: {statistics.median(shares):.1f} "
          f"[{min(shares):.1f} to {max(shares):.1f}] (budget {share_budget})", flush=True)


def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    os.makedirs("/run/systemd/system/dmaheapd.service.d", exist_ok=True)
    with open("/run/systemd/system/dmaheapd.service.d/bench.conf", "w", encoding="ascii") as file:
        # The daemon's debug lines say how long each census took. Requests log nothing.
        file.write("[Service]\nEnvironment=DMAHEAPD_LOG_LEVEL=debug\nLogRateLimitIntervalSec=0\n")
    vmtest.systemctl("daemon-reload")
    configure(CONFIG)
    for n in range(CLIENTS):
        os.mkdir(f"{CGROUPS}/bench-{n}.scope")
    os.mkdir(CGROUPS + HOME)
    vmtest.live_buffers()  # mounts debugfs
    hammers = Hammers()
    move_to(HOME)
    with vmtest.Varlink() as connection:
        few = censuses(connection)
        measure_hammers(connection, hammers, "", 1.1, 5)
        fds = measure_buffers(connection)
        print(f"a census of {len(kernel_buffers())} buffers, milliseconds: {censuses(connection) * 1e3:.0f} "
              "(budget none)")
        print(f"a census of {HAMMERS * EACH} buffers, milliseconds: {few * 1e3:.0f} (budget none)", flush=True)
        # No request waits longer than a second for a census to begin. Where a census takes more than 50 ms, that bound
        # makes censuses take more than 5 % of the time.
        measure_hammers(connection, hammers, f" and {CLIENTS * EACH} buffers", "none", "none")
        vmtest.close_fds(fds)
    hammers.end()


main()
