# SPDX-License-Identifier: GPL-2.0-only
"""What the suites of the modules share: heaps used without a daemon, mappings, importers, and the kernel's log."""

import contextlib
import ctypes
import errno
import fcntl
import glob
import mmap
import os
import re
import struct
import time
import unittest

import vmtest

PAGE = mmap.PAGESIZE
KIB = 1 << 10
MIB = 1 << 20

SYSTEM = "system"
CMA = "default_cma_region"
TEST_MODULES = "/usr/lib/dmaheapd/test-modules"

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mremap.restype = ctypes.c_void_p
libc.mremap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_int]
libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]


def iowr(kind, number, size):
    return 3 << 30 | size << 16 | ord(kind) << 8 | number


def alloc_command(size=24):
    """DMA_HEAP_IOCTL_ALLOC for a struct of that size."""
    return iowr("H", 0, size)


# The ioctl

def open_heap(name):
    return os.open("/dev/dma_heap/" + name, os.O_RDWR | os.O_CLOEXEC)


class Heap:
    """An open heap."""

    def __init__(self, name):
        self.fd = open_heap(name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def allocate(self, size, fd_flags=os.O_RDWR | os.O_CLOEXEC, fd=0, heap_flags=0):
        """The fd of a new dma-buf."""
        data = bytearray(struct.pack("QIIQ", size, fd, fd_flags, heap_flags))
        fcntl.ioctl(self.fd, alloc_command(), data)
        return struct.unpack_from("QI", data)[1]


def allocate(heap, size, **keywords):
    with Heap(heap) as opened:
        return opened.allocate(size, **keywords)


def buffer_size(fd):
    return int(vmtest.fdinfo(fd)["size"])


# The contents

class Mapped:
    """A buffer or a part of it, mapped into this process."""

    def __init__(self, fd, size, offset=0, prot=mmap.PROT_READ | mmap.PROT_WRITE):
        self.fd = fd
        self.size = size
        self.map = mmap.mmap(fd, size, mmap.MAP_SHARED, prot, offset=offset)

    def __enter__(self):
        vmtest.sync_buffer(self.fd)
        return self

    def __exit__(self, *_):
        self.map.close()
        vmtest.sync_buffer(self.fd, end=True)

    def fill(self, byte):
        chunk = bytes([byte]) * min(self.size, MIB)
        for offset in range(0, self.size, len(chunk)):
            part = chunk[:self.size - offset]
            self.map[offset:offset + len(part)] = part

    def is_filled(self, byte):
        chunk = bytes([byte]) * min(self.size, MIB)
        return all(self.map[offset:offset + MIB] == chunk[:self.size - offset] for offset in range(0, self.size, MIB))


def fill(fd, byte):
    with Mapped(fd, buffer_size(fd)) as mapped:
        mapped.fill(byte)


def is_filled(fd, byte):
    with Mapped(fd, buffer_size(fd)) as mapped:
        return mapped.is_filled(byte)


# The importer in tests/modules

def probe(request, fd, expect=0, fill_with=0):
    """Makes one request to dmabuf_probe. Returns its 'found', 'n_runs' and 'value'."""
    load_test_module("dmabuf_probe")
    number = {"vmap": 1, "vmap_time": 2, "map": 3, "share": 4}[request]
    data = bytearray(struct.pack("iBBHQQQ", fd, expect, fill_with, 0, 0, 0, 0))
    probe_fd = os.open("/dev/dmabuf_probe", os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.ioctl(probe_fd, iowr("D", number, 32), data)
    finally:
        os.close(probe_fd)
    return struct.unpack("iBBHQQQ", data)[4:]


# Modules

def modprobe(*names):
    vmtest.run("modprobe", "-a", *names)


def load_test_module(name, *parameters):
    if not vmtest.module_loaded(name):
        vmtest.run("insmod", f"{TEST_MODULES}/{name}.ko", *parameters)


def core_is_ours():
    return vmtest.module_loaded("dma_heap")


def load_heaps():
    """Loads our heaps. A kernel with a system heap built in keeps that one."""
    if not os.path.exists("/dev/dma_heap/" + SYSTEM):
        modprobe("system_heap")
    modprobe("cma_heap")


# The kernel

def cma_pages(which="available", area="reserved"):
    with open(f"/sys/kernel/mm/cma/{area}/{which}_pages", encoding="ascii") as file:
        return int(file.read())


def available_memory():
    return vmtest.meminfo("MemAvailable")


def kernel_log():
    return vmtest.run("dmesg", "--notime").splitlines()


def mark_kernel_log(marker):
    with open("/dev/kmsg", "w", encoding="ascii") as file:
        file.write(marker + "\n")


def kernel_log_since(marker):
    """The lines after the marker. Fails if the log was too short to keep it."""
    log = kernel_log()
    assert marker in log, "the kernel's log has lost its beginning"
    return log[len(log) - log[::-1].index(marker):]


# Messages of the DMA API's checks about their own memory are left out.
COMPLAINTS = re.compile(r"BUG:|WARNING:|Call Trace|KASAN:|"
                        r"DMA-API: (?!dma_debug_entry pool grown|cacheline tracking ENOMEM)|"
                        r"INFO: (task|possible|rcu|trying)|possible circular|Oops|general protection|sleeping function|"
                        r"refcount_t:|sysfs: cannot create")
KMEMLEAK = "/sys/kernel/debug/kmemleak"


# vivid does not say how long its segments may be, so the DMA API's checks complain of any exporter's segment over 64
# KiB.
KNOWN = re.compile(r"DMA-API: vivid vivid\.\d+: mapping sg segment longer than device claims to support")


def without_known(log):
    """The log without the reports, from their first line to their last, of known faults that are not ours."""
    kept, report = [], []
    for line in log:
        if report or "[ cut here ]" in line:
            report.append(line)
        else:
            kept.append(line)
        if report and "[ end trace" in line:
            kept += [] if any(KNOWN.search(told) for told in report) else report
            report = []
    return kept + report


def complaints(log):
    return [line for line in without_known(log) if COMPLAINTS.search(line)]


def kmemleak(command):
    with open(KMEMLEAK, "w", encoding="ascii") as file:
        file.write(command)


def leaks():
    """What kmemleak finds.

    It reports an object that was five seconds old when a scan began, and unchanged since the scan before. So several
    scans may be needed after the last pointer to an object is gone."""
    time.sleep(6)
    found = []
    while len(found) < 50 and (len(found) < 3 or len(set(found[-3:])) > 1):
        kmemleak("scan")
        with open(KMEMLEAK, encoding="utf-8", errors="replace") as file:
            found.append(file.read())
    return found[-1]


# Control groups

CGROUP_ROOT = "/sys/fs/cgroup"

# The kernel charges memory in lots of 64 pages, and each CPU may hold one lot in stock.
STOCK = 64 * PAGE * os.cpu_count()
# Charges that stay: slabs shared with other processes, and pages that a process touched first before it ended.
SLABS = 2 * MIB


class Cgroup:
    """A control group of the test's own, with the memory and dmem controllers. A name with a slash is below another
    one."""

    def __init__(self, name):
        self.path = f"{CGROUP_ROOT}/{name}"

    def __enter__(self):
        control = os.path.dirname(self.path) + "/cgroup.subtree_control"
        for controller in ("memory", "dmem"):
            with contextlib.suppress(OSError), open(control, "w", encoding="ascii") as file:
                file.write("+" + controller)
        os.mkdir(self.path)
        return self

    def __exit__(self, *_):
        vmtest.wait_until(self.remove, what=f"{self.path} is busy")

    def remove(self):
        try:
            os.rmdir(self.path)
        except OSError:
            return False
        return True

    def read(self, name):
        return vmtest.read_file(f"{self.path}/{name}")

    def write(self, name, value):
        vmtest.write_file(f"{self.path}/{name}", value)

    def keyed(self, name):
        return vmtest.keyed(f"{self.path}/{name}")

    def enter(self):
        self.write("cgroup.procs", 0)

    def owes(self):
        """Whether buffers are still charged: any byte of a region, or more memory than the kernel keeps in stock."""
        return any(self.keyed("dmem.current").values()) or int(self.read("memory.current")) > STOCK + SLABS


def in_cgroup(cgroup, function, *arguments):
    """The result of the function in a new process in that control group."""
    def child():
        cgroup.enter()
        return function(*arguments)
    return vmtest.Child(child).result()


class HeapTest(unittest.TestCase):
    """Tests with heaps. After each class the kernel has not complained, and no buffer is left."""

    longMessage = True

    @classmethod
    def setUpClass(cls):
        load_heaps()
        cls.marker = f"test: {cls.__name__} begins"
        mark_kernel_log(cls.marker)
        cls.buffers_before = vmtest.live_buffers()
        if os.path.exists(KMEMLEAK):
            kmemleak("clear")

    @classmethod
    def tearDownClass(cls):
        log = kernel_log_since(cls.marker)
        assert not complaints(log), "\n".join(log)
        vmtest.wait_until(lambda: vmtest.live_buffers() <= cls.buffers_before, what="buffers are left")
        if os.path.exists(KMEMLEAK):
            assert not leaks(), leaks()

    def assert_errno(self, expected, function, *arguments, **keywords):
        with self.assertRaises(OSError) as raised:
            function(*arguments, **keywords)
        self.assertEqual(errno.errorcode[raised.exception.errno], errno.errorcode[expected])

    def allocate(self, heap, size, **keywords):
        """The fd of a new buffer, which is closed when the test is over unless the test has closed it."""
        fd = allocate(heap, size, **keywords)
        self.addCleanup(close_quietly, fd)
        return fd


def close_quietly(fd):
    try:
        os.close(fd)
    except OSError:
        pass


def video_node(kind="vid-cap"):
    """The device node of vivid's capture device, or None."""
    for path in sorted(glob.glob("/sys/class/video4linux/video*")):
        with open(path + "/name", encoding="ascii") as file:
            if kind in file.read():
                return "/dev/" + os.path.basename(path)
    return None
