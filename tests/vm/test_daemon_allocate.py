#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" build=release
"""The main job: one call loads a module if it has to, and returns buffers. And the memory that the daemon takes for
it."""

import ctypes
import errno
import fcntl
import mmap
import os
import re
import unittest

import vmtest
from daemontest import DEADLINE, INVALID_PARAMETER, DaemonTest, daemon_pid, private_dirty, worker_pids

MIB = vmtest.MIB
PAGE = mmap.PAGESIZE
KIB = 1 << 10

# This text is also in docs/interface.md (tests/house/check-docs.py compares them).
INTERFACE = """
interface io.dmaheapd.Allocator

type Heap (
  name: string,
  state: (ready, loadable, failed),
  reason: ?string,
  roles: []string,
  module: ?string,
  accounting: (kernel, daemon),
  region: ?string,
  size: ?int,
  used: int
)
type Buffer (fileDescriptor: int, id: int, size: int)
type Usage (bytesUsed: int, bytesMax: ?int, buffersUsed: int, buffersMax: ?int)
type HeapUsage (heap: string, bytesUsed: int, bytesMax: ?int)
type Client (unit: ?string, cgroup: string, uid: int, user: int, connections: int, usage: Usage, heaps: []HeapUsage)
type LiveBuffer (id: int, size: int, heap: string, label: ?string, unit: ?string, cgroup: string, uid: int, user: int,
                 allocatedUSec: int)

method Allocate (heap: ?string, role: ?string, size: int, count: ?int, access: ?(readWrite, readOnly), label: ?string)
  -> (heap: string, buffers: []Buffer)
method ListHeaps () -> (heaps: []Heap)
method GetUsage () -> (client: Usage, user: Usage, heaps: []HeapUsage, cgroupHeadroom: ?int)
method ListClients () -> (clients: []Client)
method ListBuffers (unit: ?string, uid: ?int) -> (buffers: []LiveBuffer)

error NoSuchHeap (heap: ?string, role: ?string)
error HeapUnavailable (heap: string, reason: string)
error QuotaExceeded (scope: (client, user, heap, cgroup, system), name: ?string, resource: (bytes, buffers),
                     limit: int, used: int, requested: int)
error OutOfMemory (heap: string)
error OutOfResources (resource: string)
error TimedOut (heap: string)
"""


def map_and_use(fd, size):
    """Maps the buffer, finds it zeroed, writes to each page and reads that back."""
    with vmtest.map_buffer(fd, size) as memory:
        vmtest.sync_buffer(fd)
        assert memory[:] == bytes(size), "not zeroed"
        for page in range(0, size, PAGE):
            memory[page:page + 8] = page.to_bytes(8, "little")
        vmtest.sync_buffer(fd, end=True)
    with vmtest.map_buffer(fd, size) as memory:
        assert all(memory[page:page + 8] == page.to_bytes(8, "little") for page in range(0, size, PAGE)), "not kept"


def first_call():
    reply = vmtest.allocate(role="contiguous", size=8 * MIB)
    assert reply.error is None and len(reply.fds) == 1, reply
    info = vmtest.fdinfo(reply.fds[0])
    map_and_use(reply.fds[0], 8 * MIB)
    return reply.parameters, info["exp_name"], int(info["size"]), int(info["ino"])


class Activation(DaemonTest):
    """This class is the first, because the module stays loaded."""

    def test_first_call_starts_the_service_and_loads_the_module(self):
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "ActiveState"), "inactive")
        self.assertFalse(vmtest.module_loaded("cma_heap"))
        parameters, exporter, size, inode = vmtest.as_user("user1", first_call)
        self.assertEqual((exporter, size), ("default_cma_region", 8 * MIB))
        self.assertEqual(parameters, {"heap": "default_cma_region",
                                      "buffers": [{"fileDescriptor": 0, "id": inode, "size": 8 * MIB}]})
        self.assertTrue(vmtest.module_loaded("cma_heap"))
        self.assertEqual(vmtest.unit_property(vmtest.SERVICE, "ActiveState"), "active")


class SystemHeap(DaemonTest):
    def get(self, **parameters):
        with open("/proc/modules", encoding="ascii") as file:
            before = file.read()
        reply = self.assert_served(vmtest.allocate(size=MIB, **parameters))
        self.assertEqual(vmtest.fdinfo(reply.fds[0])["exp_name"], "system")
        map_and_use(reply.fds[0], MIB)
        with open("/proc/modules", encoding="ascii") as file:
            self.assertEqual({line.split()[0] for line in file}, {line.split()[0] for line in before.splitlines()})

    def test_its_role_finds_it(self):
        self.get(role="system")

    def test_its_name_finds_it(self):
        self.get(heap="system")

    def test_it_is_the_default(self):
        self.get()
        self.get(heap=None, role=None, count=None, access=None, label=None)


class Count(DaemonTest):
    def test_one_call_gives_up_to_253_buffers(self):
        for count in (1, 32, 253):
            with self.subTest(count=count):
                reply = self.assert_served(vmtest.allocate(size=PAGE, count=count), count=count)
                self.assertEqual([buffer["fileDescriptor"] for buffer in reply["buffers"]], list(range(count)))
                self.assertEqual({buffer["size"] for buffer in reply["buffers"]}, {PAGE})
                inodes = [int(vmtest.fdinfo(fd)["ino"]) for fd in reply.fds]
                self.assertEqual([buffer["id"] for buffer in reply["buffers"]], inodes)
                self.assertEqual(len(set(inodes)), count)

    def test_fewer_and_more_are_refused(self):
        for count in (0, 254, -1):
            with self.subTest(count=count):
                self.assert_error(vmtest.allocate(size=PAGE, count=count), INVALID_PARAMETER, parameter="count")

    def test_all_buffers_are_given_or_none(self):
        """Sixteen times 5 MiB do not fit into a region of 64 MiB."""
        reply = vmtest.allocate(heap="default_cma_region", size=5 * MIB, count=16)
        self.assertIn(reply.error, ("OutOfMemory", "QuotaExceeded"))
        self.assertEqual(reply.fds, [])


class Size(DaemonTest):
    def test_sizes_are_rounded_up_to_pages(self):
        for size, rounded in ((1, PAGE), (PAGE - 1, PAGE), (PAGE, PAGE), (PAGE + 1, 2 * PAGE), (MIB - 1, MIB)):
            for heap in ("system", "default_cma_region"):
                with self.subTest(size=size, heap=heap):
                    reply = self.assert_served(vmtest.allocate(heap=heap, size=size), heap)
                    self.assertEqual(reply["buffers"][0]["size"], rounded)
                    self.assertEqual(int(vmtest.fdinfo(reply.fds[0])["size"]), rounded)


def make_mapping_writable(fd):
    """Maps a buffer for reading and makes that mapping writable with mprotect(). Returns 0 or mprotect()'s errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]

    address = libc.mmap(None, PAGE, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
    assert address != ctypes.c_void_p(-1).value
    error = ctypes.get_errno() if libc.mprotect(address, PAGE, mmap.PROT_READ | mmap.PROT_WRITE) < 0 else 0
    libc.munmap(address, PAGE)
    return error


class Access(DaemonTest):
    def test_a_read_only_buffer_can_only_be_read(self):
        for heap in ("system", "default_cma_region"):
            with self.subTest(heap=heap):
                reply = self.assert_served(vmtest.allocate(heap=heap, size=PAGE, access="readOnly"), heap)
                with self.assertRaises(PermissionError):
                    vmtest.map_buffer(reply.fds[0], PAGE)
                with vmtest.map_buffer(reply.fds[0], PAGE, writable=False) as memory:
                    self.assertEqual(memory[:], bytes(PAGE))

    def test_read_only_cannot_be_reopened_for_writing(self):
        """A readOnly fd stays read-only; a readWrite one, tried in the same way, shows that the attempts could succeed.

        Reopening fails with ENXIO for every dma-buf, readWrite too: its inode has no open operation. So the fd's own
        mode is what protects the buffer: F_SETFL does not change it, and mprotect() of a mapping follows it."""
        for access, mode, denied in (("readOnly", os.O_RDONLY, errno.EACCES), ("readWrite", os.O_RDWR, 0)):
            with self.subTest(access=access):
                fd = self.assert_served(vmtest.allocate(size=PAGE, access=access)).fds[0]
                for flags in (os.O_RDONLY, os.O_RDWR):
                    with self.assertRaises(OSError) as caught:
                        os.close(os.open(f"/proc/self/fd/{fd}", flags))
                    self.assertEqual(caught.exception.errno, errno.ENXIO)
                fcntl.fcntl(fd, fcntl.F_SETFL, os.O_RDWR)
                self.assertEqual(fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE, mode)
                self.assertEqual(make_mapping_writable(fd), denied)

    def test_a_read_write_buffer_can_be_written(self):
        reply = self.assert_served(vmtest.allocate(size=PAGE, access="readWrite"))
        map_and_use(reply.fds[0], PAGE)


class Label(DaemonTest):
    def test_a_label_becomes_the_buffers_name(self):
        for label in ("x", "a camera's frame ~", "y" * 31):
            with self.subTest(label=label):
                reply = self.assert_served(vmtest.allocate(size=PAGE, count=2, label=label), count=2)
                self.assertEqual([vmtest.fdinfo(fd)["name"] for fd in reply.fds], [label, label])


class Interface(unittest.TestCase):
    """The interface description, read with varlinkctl."""

    @classmethod
    def setUpClass(cls):
        cls.text = vmtest.run("varlinkctl", "introspect", vmtest.SOCKET, vmtest.INTERFACE)

    def test_the_interface_is_the_documented_one(self):
        self.assertEqual(symbols(self.text), symbols(INTERFACE))

    def test_every_symbol_and_field_has_a_comment(self):
        lines = [line.strip() for line in self.text.splitlines()]
        lone = [line for before, line in zip(["", *lines], lines)
                if re.match(r"(interface|type|method|error|[A-Za-z]+:) ?", line) and not before.startswith("#")]
        self.assertEqual(lone, [])
        self.assertGreater(sum(line.startswith("#") for line in lines), 60)

    def test_varlinkctl_finds_it_valid(self):
        with open("/run/interface", "w", encoding="utf-8") as file:
            file.write(self.text)
        printed = vmtest.run("varlinkctl", "validate-idl", "/run/interface")
        self.assertEqual(symbols(printed), symbols(self.text))

    def test_get_info_names_the_interface_and_the_census(self):
        info = vmtest.call("org.varlink.service.GetInfo")
        self.assertLessEqual({vmtest.INTERFACE, "org.varlink.service"}, set(info["interfaces"]))
        self.assertEqual(info["product"], "dmaheapd (buffers counted by bpf)")


def symbols(text):
    """The text of each symbol of an interface by its name, without comments and white space."""
    text = re.sub(r"#.*", "", text)
    parts = re.split(r"^(?=interface|type|method|error)", text, flags=re.MULTILINE)
    parts = [re.sub(r"\s+", "", part) for part in parts if part.strip()]
    found = {re.split(r"[(]", part)[0]: part for part in parts}
    assert len(found) == len(parts), "a symbol twice"
    return found


class Costs(DaemonTest):
    def test_private_dirty_memory(self):
        """Of the idle daemon, and of a worker that has just worked."""
        pid = daemon_pid()
        with vmtest.Varlink(timeout=DEADLINE) as connection:
            for _ in range(20):
                self.use(connection, count=32)
            worker_size = self.look_at_worker(connection, private_dirty)
        vmtest.wait_until(lambda: not worker_pids(), DEADLINE, "the workers have ended")
        daemon_size = private_dirty(pid)
        print(f"# private dirty memory: daemon {daemon_size // KIB} KiB of 2048, "
              f"worker {worker_size // KIB} KiB of 300")
        self.assertLessEqual(daemon_size, 2 * MIB)
        self.assertLessEqual(worker_size, 300 * KIB)
        self.assertGreater(worker_size, 0)


if __name__ == "__main__":
    vmtest.main()
