#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=tristate,stock build=hooks append="cma=64M dma_heap.mem_accounting=1" timeout=900
"""The client pays for an allocation, in memory and in processor time, and lives when it was too much.

With our system heap no process is killed. With the kernel's own, the OOM killer takes the worker."""

import os
import re
import signal

import heaps
import vmtest
from accountingtest import MIB, daemon_buffers, kernel_buffers
from daemontest import DEADLINE, unit_cgroup
from workertest import WorkerTest, charged, cpu_usec, keyed, n_oom_kills, processes, read, service_with, victims, write

UNIT = "test-payer.service"
NO_HEADROOM = "Environment=DMAHEAPD_TEST_NO_HEADROOM=1"


def heap_is_ours():
    """Whether the system heap is our module, which has an alias; the kernel's own, module or not, has none."""
    done = vmtest.run("modinfo", "--field", "alias", "system_heap", check=False)
    return "dma-heap:system" in done.stdout


class Pays(WorkerTest):
    def test_the_kernel_charges_the_system_heap(self):
        reply = self.assert_served(vmtest.allocate(size=4096))
        self.assertEqual(vmtest.fdinfo(reply.fds[0])["exp_name"], "system")
        with open("/sys/module/dma_heap/parameters/mem_accounting", encoding="ascii") as file:
            self.assertEqual(file.read(), "Y\n")

    def test_the_client_pays_for_pages_while_the_buffer_lives(self):
        size, tolerance = 64 * MIB, 64 * MIB // 100
        cgroup = self.cgroup("/test-payer.scope")
        empty = charged(cgroup)
        peer, connection = self.connected_peer(cgroup=cgroup, then=["/usr/bin/sleep", "infinity"])
        self.use(connection)  # some memory is charged only once
        daemon = unit_cgroup(vmtest.SERVICE)
        before, daemon_before = charged(cgroup), charged(daemon)

        (fd,) = self.allocate(connection, size)
        inode = os.fstat(fd).st_ino
        print("# the client's charge grew by", charged(cgroup) - before,
              "the daemon's by", charged(daemon) - daemon_before)
        self.assertAlmostEqual(charged(cgroup) - before, size, delta=tolerance)
        self.assertLess(charged(daemon) - daemon_before, tolerance)

        # The client ends. The process that has the buffer, which is this one, keeps it and its charge alive.
        connection.close()
        peer.child.kill()
        os.waitpid(peer.child.pid, 0)
        vmtest.wait_until(lambda: not processes(cgroup), DEADLINE, "client and worker are gone")
        self.assertAlmostEqual(charged(cgroup) - empty, size, delta=tolerance)
        (mine,) = (buffer for buffer in vmtest.call("ListBuffers")["buffers"] if buffer["id"] == inode)
        self.assertEqual((mine["size"], mine["cgroup"], kernel_buffers()[inode]), (size, cgroup, size))

        os.close(fd)
        vmtest.wait_until(lambda: charged(cgroup) - empty < tolerance, DEADLINE, "the charge is back where it was")
        self.assertNotIn(inode, daemon_buffers())

    def test_the_slice_pays_for_a_unit_that_is_gone(self):
        size, tolerance = 32 * MIB, 32 * MIB // 50
        vmtest.start_unit("test-keep.service", "sleep", "infinity", Slice="testpayers.slice")
        self.addCleanup(vmtest.stop_unit, "test-keep.service")
        above = os.path.dirname(unit_cgroup("test-keep.service"))
        path = self.unit(UNIT, Slice="testpayers.slice")
        (fd,) = self.allocate(self.client(path), size)
        vmtest.stop_unit(UNIT)
        vmtest.wait_until(lambda: not os.path.exists("/sys/fs/cgroup" + path), DEADLINE, "the unit is gone")
        held = charged(above)
        self.assertGreater(held, size)
        os.close(fd)
        vmtest.wait_until(lambda: abs(held - charged(above) - size) < tolerance, DEADLINE, "the charge is gone")

    def test_the_client_pays_for_the_time(self):
        """Zeroing 1 GiB costs the client as much processor time as calling the heap itself, and the daemon next to
        none."""
        count, size = 16, 64 * MIB
        cgroup, own = self.cgroup("/test-payer.scope"), self.cgroup("/test-own.scope")
        connection = self.client(cgroup)
        self.use(connection)
        daemon = unit_cgroup(vmtest.SERVICE)
        spent = []
        for each in (4096, size):  # small requests show what the daemon needs for each request
            before, daemon_before = cpu_usec(cgroup), cpu_usec(daemon)
            for _ in range(count):
                self.use(connection, size=each)
            spent.append((cpu_usec(cgroup) - before, cpu_usec(daemon) - daemon_before))
        (_, daemons_least), (client, daemons) = spent

        vmtest.Child(allocate_there, own, 0, 0).result()
        before = cpu_usec(own)
        vmtest.Child(allocate_there, own, count, size).result()
        direct = cpu_usec(own) - before
        print(f"# {count} times {size // MIB} MiB: client {client} us, daemon {daemons} us, "
              f"of 4 KiB {daemons_least} us, without a daemon {direct} us")
        self.assertGreater(client, direct / 2)
        self.assertLess(daemons, daemons_least + client / 10)


def allocate_there(cgroup, count, size):
    write(cgroup, "cgroup.procs", 0)
    with heaps.Heap("system") as heap:
        for _ in range(count):
            os.close(heap.allocate(size))


class OverTheLimit(WorkerTest):
    """A test hook makes the daemon not compare requests with the headroom of the control group."""

    N_REQUESTS = 200

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterClassContext(service_with(NO_HEADROOM))

    def refuse_all(self, connection, n_requests, **parameters):
        errors = {}
        for _ in range(n_requests):
            reply = connection.call("Allocate", {"size": 32 * MIB, **parameters})
            vmtest.close_fds(reply.fds)
            said = reply.parameters.get("resource", reply.error)
            errors[said] = errors.get(said, 0) + 1
        return errors

    def test_too_much_is_out_of_memory_and_the_client_lives(self):
        if not heap_is_ours():
            return self.upstreams_takes_the_worker()
        cgroup = self.unit(UNIT, MemoryMax="24M")  # its OOMPolicy= stops the unit at the first kill
        connection, pid = self.client(cgroup), vmtest.unit_pid(UNIT)
        self.assertEqual(self.refuse_all(connection, self.N_REQUESTS), {"OutOfMemory": self.N_REQUESTS})
        # Four buffers together are too much, so none is given.
        self.assertEqual(self.refuse_all(connection, 20, size=8 * MIB, count=4), {"OutOfMemory": 20})
        self.assertEqual(n_oom_kills(cgroup), 0)
        self.assert_lives(UNIT, pid, connection)

    def upstreams_takes_the_worker(self):
        cgroup = self.unit(UNIT, MemoryMax="24M", OOMPolicy="continue")
        connection, pid = self.client(cgroup), vmtest.unit_pid(UNIT)
        self.assertEqual(self.refuse_all(connection, self.N_REQUESTS), {"OutOfMemory": self.N_REQUESTS})
        self.assertEqual(n_oom_kills(cgroup), self.N_REQUESTS)
        self.assertEqual(set(victims(cgroup)), {"dmaheapd-worker"})
        self.assert_lives(UNIT, pid, connection)

    def test_too_much_of_udmabuf_kills_only_the_worker(self):
        """Its pages belong to a memfd, and our modules do not allocate them."""
        cgroup = self.unit(UNIT, MemoryMax="24M", OOMPolicy="continue")
        connection, pid = self.client(cgroup), vmtest.unit_pid(UNIT)
        self.assertEqual(self.refuse_all(connection, 10, heap="udmabuf"), {"OutOfMemory": 10})
        print("# udmabuf: oom kills", n_oom_kills(cgroup), victims(cgroup))
        self.assertLessEqual(set(victims(cgroup)), {"dmaheapd-worker"})
        self.assert_lives(UNIT, pid, connection)

    def assert_lives(self, unit, pid, connection):
        self.assertEqual((vmtest.unit_property(unit, "ActiveState"), vmtest.unit_pid(unit)), ("active", pid))
        (fd,) = self.allocate(connection, 4 * MIB)
        os.close(fd)
        self.assert_others_served()

    def test_a_client_that_grows_meanwhile_lives(self):
        """The client grows while its request is in progress, and both together are too much.

        Our system heap kills no process in its ioctl. But when the client's own growth reaches the limit, the OOM
        killer takes the worker and not the client."""
        cgroup = self.unit(UNIT, "python3", "-c", GROWING_CLIENT, MemoryMax="96M", OOMPolicy="continue", User="user1",
                           StandardOutput="file:/run/test-race", WorkingDirectory=os.getcwd(),
                           Environment="PYTHONPATH=" + os.getcwd())
        said = vmtest.wait_until(lambda: read_file("/run/test-race").endswith("END\n") and read_file("/run/test-race"),
                                 2 * DEADLINE, "the client has said how it went")
        print("#", said.replace("\n", "; "), "oom kills:", n_oom_kills(cgroup))
        rounds = re.findall(r"^(\w+ \w+)$", said, re.MULTILINE)
        self.assertEqual(rounds, ["OutOfMemory grown"] * 5)
        self.assertEqual((vmtest.unit_property(UNIT, "ActiveState"), read(cgroup, "memory.oom.group")),
                         ("active", "0\n"))
        self.assertLessEqual(set(victims(cgroup)), {"dmaheapd-worker"})
        n_kills = n_oom_kills(cgroup)
        os.kill(vmtest.unit_pid(UNIT), signal.SIGKILL)
        if heap_is_ours():
            self.assertLessEqual(n_kills, len(rounds))
            return
        self.assertEqual(n_kills, len(rounds))
        # The kernel's report of each kill says how much kernel memory was charged to the control group: a part of the
        # request. So the worker was killed in the ioctl.
        parts = [int(part) for part in re.findall(r"kernel (\d{6,})\b", vmtest.run("dmesg"))][-len(rounds):]
        print("# allocated when it was taken:", parts)
        self.assertEqual(len(parts), len(rounds))
        for part in parts:
            with self.subTest(part=part):
                self.assertGreater(part, 4 * MIB)
                self.assertLess(part, 80 * MIB)


GROWING_CLIENT = f"""
import mmap, select, vmtest
cgroup = "/sys/fs/cgroup" + open("/proc/self/cgroup").read().strip().rpartition(":")[2]

def charged():
    with open(cgroup + "/memory.current") as file:
        return int(file.read())

connection = vmtest.Varlink()
reply = connection.call("Allocate", {{"size": 4096}})
vmtest.close_fds(reply.fds)
for _ in range(5):
    before = charged()
    connection.send("Allocate", {{"size": 80 << 20}})
    while charged() < before + (8 << 20) and not select.select([connection.socket], [], [], 0)[0]:
        pass
    early = bool(select.select([connection.socket], [], [], 0)[0])
    with mmap.mmap(-1, 16 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE):
        reply = connection.receive()
    print(reply.error, "early" if early else "grown", flush=True)
    vmtest.close_fds(reply.fds)
print("END", flush=True)
import signal
signal.pause()
"""


def read_file(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


class Refused(WorkerTest):
    """With the headroom compared, as usual, a unit with memory.oom.group is refused before its limit is reached."""

    def test_a_unit_that_would_be_killed_as_a_whole_is_refused(self):
        cgroup = self.unit(UNIT, MemoryMax="24M", OOMPolicy="kill")
        self.assertEqual(read(cgroup, "memory.oom.group"), "1\n")
        connection, pid = self.client(cgroup), vmtest.unit_pid(UNIT)
        for _ in range(20):
            reply = connection.call("Allocate", {"size": 32 * MIB})
            self.assert_error(reply, "QuotaExceeded", scope="cgroup", name=cgroup, limit=24 * MIB, requested=32 * MIB)
        (fd,) = self.allocate(connection, 12 * MIB)
        self.assert_error(connection.call("Allocate", {"size": 12 * MIB}), "QuotaExceeded", scope="cgroup")
        os.close(fd)
        self.assertEqual(keyed(cgroup, "memory.events")["oom"], 0)
        self.assertEqual((vmtest.unit_property(UNIT, "ActiveState"), vmtest.unit_pid(UNIT)), ("active", pid))


if __name__ == "__main__":
    vmtest.main()
