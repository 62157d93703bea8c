#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock timeout=3600
"""What accounting costs: requests beside 20,000 buffers, the census of them, and clients that hammer at their limits.

Each ratio is of the medians of RUNS runs a side, in turn; in brackets the lowest and the highest ratio of two runs that
came one after the other. The lines 'A/A' compare every other run of the first side with the rest of them: that much is
noise. """

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
    """The nanoseconds of one."""
    start = time.perf_counter_ns()
    fds = allocate(connection)
    taken = time.perf_counter_ns() - start
    vmtest.close_fds(fds)
    return taken


def requests(connection):
    """The median of some, after a census, so that the last run's records are gone."""
    usage(connection)
    for _ in range(REQUESTS // 10):
        request(connection)
    return statistics.median(request(connection) for _ in range(REQUESTS))


def fill():
    """As many buffers of as many clients: this process is one after the other."""
    fds = []
    for n in range(CLIENTS):
        move_to(f"/bench-{n}.scope")
        with vmtest.Varlink() as connection:
            fds += allocate(connection, count=EACH)
    move_to(HOME)
    return fds


def workers_gone():
    """No client but the one that is measured has a worker any more: those end when they have had nothing to do for a
    while."""
    for n in range(CLIENTS):
        with open(f"{CGROUPS}/bench-{n}.scope/cgroup.procs", encoding="ascii") as file:
            if file.read():
                return False
    return True


def censuses(connection):
    """The median of the seconds in which a question that takes a census is answered, asked when one may begin at
    once."""
    taken = []
    for _ in range(10):
        time.sleep(1.1)
        start = time.perf_counter()
        usage(connection)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def logged_censuses():
    """For how many seconds the daemon has been counting since it began."""
    return sum(map(int, re.findall(r"A census took (\d+) us", vmtest.journal()))) / 1e6


def hammer(n, control):
    """Holds all it may, and asks for more from each byte of the socket to the next, which it answers."""
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
    """All that are made in that time: their median, and what one of twenty takes longer than."""
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
    """Clients that hammer for a while, and then do not."""
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
        # Its debug lines say how long censuses took; none of them is of a request.
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
        print(f"a census of {len(kernel_buffers())} buffers, milliseconds: {censuses(connection) * 1e3:.0f} (budget none)")
        print(f"a census of {HAMMERS * EACH} buffers, milliseconds: {few * 1e3:.0f} (budget none)", flush=True)
        # No request waits longer than a second for a census: where one of so many takes a twentieth of that, they take
        # more.
        measure_hammers(connection, hammers, f" and {CLIENTS * EACH} buffers", "none", "none")
        vmtest.close_fds(fds)
    hammers.end()


main()
