# SPDX-License-Identifier: GPL-2.0-only
"""Clients that allocate and free without end, and that stop and say what they hold when they are asked."""

import contextlib
import json
import os
import random
import select
import signal
import socket

import vmtest
from accountingtest import CGROUPS, AccountingTest, kernel_buffers
from daemontest import parent

PAGE = 4096
# An emulated machine on a busy host may stand still for a minute. Whatever takes longer than this hangs.
PATIENCE = 300
# The replies that a client may get when a daemon, a spawner or a worker has just been killed.
EXCUSES = {None, "OutOfResources"}


def load(control, cgroup, user, seed):
    """Allocates and frees. Upon a byte on the control socket it stops, answers {inode: size}, and goes on after another
    byte."""
    with open(f"{CGROUPS}{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    vmtest.become(user)
    chance = random.Random(seed)
    held, connection = {}, None
    while True:
        if select.select([control], [], [], 0)[0]:
            if not control.recv(1):
                return
            if connection:
                connection.close()
            connection = None
            control.send(json.dumps({inode: os.fstat(fd).st_size for inode, fd in held.items()}).encode())
            if not control.recv(1):
                return
        try:
            connection = connection or vmtest.Varlink(timeout=PATIENCE)
            step(connection, held, chance)
        except (vmtest.ConnectionClosed, ConnectionError):
            if connection:
                connection.close()
            connection = None


def step(connection, held, chance):
    reply = connection.call("Allocate", {"size": PAGE * chance.randint(1, 4), "count": chance.randint(1, 8)})
    if reply.error not in EXCUSES:
        raise AssertionError(reply)
    held.update((os.fstat(fd).st_ino, fd) for fd in reply.fds)
    for inode in chance.sample(sorted(held), max(len(held) - chance.randint(0, 40), 0)):
        os.close(held.pop(inode))


class LoadTest(AccountingTest):
    """Eight clients of two users. Whenever they stop, kernel and daemon list exactly the buffers that they hold."""

    CONFIG = "[Daemon]\nIdleTimeoutSec=2s\n[Limits]\nKeepAvailable=0\n"
    N_CLIENTS = 8

    def setUp(self):
        super().setUp()
        self.chance = random.Random(5)
        self.controls, self.cgroups = [], []
        for n in range(self.N_CLIENTS):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            ours.settimeout(PATIENCE)
            self.cgroups.append(self.cgroup(f"/test-load{n}.scope"))
            child = vmtest.Child(run_load, ours, theirs, [*self.controls], self.cgroups[n], ("user1", "user2")[n % 2],
                                 n)
            theirs.close()
            self.controls.append(ours)
            self.addCleanup(end_load, child, ours)

    def tearDown(self):
        self.assertEqual(vmtest.unit_property("dmaheapd.socket", "ActiveState"), "active")

    def stop(self):
        """Stops all clients. Returns what each of them holds."""
        for control in self.controls:
            control.send(b"s")
        return [{int(inode): size for inode, size in json.loads(control.recv(1 << 17)).items()}
                for control in self.controls]

    def go_on(self):
        for control in self.controls:
            control.send(b"g")

    def check(self):
        """Stops the clients, compares to the byte what they hold with the lists of kernel and daemon, and lets them go
        on."""
        held = self.stop()
        everything = {inode: size for one in held for inode, size in one.items()}
        vmtest.wait_until(lambda: kernel_buffers() == everything, PATIENCE, "the kernel has freed what nobody holds")
        with vmtest.Varlink(timeout=PATIENCE) as connection:
            clients = connection.call("ListClients")["clients"]
            buffers = connection.call("ListBuffers")["buffers"]
        self.assertEqual({buffer["id"]: buffer["size"] for buffer in buffers}, everything)
        for n, one in enumerate(held):
            whose = (f"test-load{n}.scope", 1000 + n % 2)
            self.assertEqual({buffer["id"]: buffer["size"] for buffer in buffers
                              if (buffer.get("unit"), buffer["uid"]) == whose}, one)
        sums = {f"test-load{n}.scope": (sum(one.values()), len(one)) for n, one in enumerate(held) if one}
        told = {client["unit"]: (client["usage"]["bytesUsed"], client["usage"]["buffersUsed"]) for client in clients}
        self.assertEqual({unit: usage for unit, usage in told.items() if usage != (0, 0)}, sums)
        self.go_on()
        return len(everything)

    def kill_daemon(self, killed):
        """Kills the daemon at a random moment, sometimes while it starts."""
        pid = vmtest.wait_until(lambda: next(iter(daemon_pids() - killed), None), PATIENCE, "there is a daemon again")
        killed.add(pid)
        # This pause waits for nothing; it makes the moment random.
        select.select([], [], [], self.chance.random() ** 2 * 2)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def daemon_pids():
    """The pids of daemons. Their children, which count buffers or load modules under the same name, are left out."""
    found = set()
    for pid in vmtest.pids_named("dmaheapd"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if parent(pid) == 1:
                found.add(pid)
    return found


def run_load(ours, theirs, others, cgroup, user, seed):
    for sock in (ours, *others):
        sock.close()
    load(theirs, cgroup, user, seed)


def end_load(child, control):
    control.close()
    child.result()
