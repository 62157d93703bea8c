#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=tristate append="cma=64M modprobe.blacklist=cma_region"
"""On a kernel without heaps and a system without our modules, the daemon uses udmabuf, and says what it cannot do."""

import fcntl
import os
import shutil
import struct

import heaps
import vmtest
from daemontest import INVALID_PARAMETER, MODULES, DaemonTest, depmod

PAGE = 4096
MIB = vmtest.MIB
OURS = MODULES + "/updates/dmaheapd"
AWAY = "/run/modules-away"
SIZE_LIMIT = "/sys/module/udmabuf/parameters/size_limit_mb"

PRIME_FD_TO_HANDLE = heaps.iowr("d", 0x2e, 12)
PRIME_HANDLE_TO_FD = heaps.iowr("d", 0x2d, 12)


class FallbackTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(AWAY):
            assert not os.path.exists("/dev/dma_heap/system"), "this kernel has heaps"
            shutil.move(OURS, AWAY)
            depmod()
        super().setUpClass()

    def assert_not_installed(self, reply, heap, module):
        self.assert_error(reply, "HeapUnavailable", heap=heap)
        self.assertEqual(reply["reason"], f"module {module} is not installed for kernel {os.uname().release}")


class System(FallbackTest):
    def test_buffers_are_zeroed_memory_of_their_own(self):
        size = 3 * MIB + PAGE
        reply = self.assert_served(vmtest.allocate(role="system", size=size - 1, count=2, label="from udmabuf"),
                                   "udmabuf", 2)
        for fd, buffer in zip(reply.fds, reply["buffers"]):
            info = vmtest.fdinfo(fd)
            self.assertEqual((info["size"], info["exp_name"], info["name"]), (str(size), "udmabuf", "from udmabuf"))
            self.assertEqual(buffer["size"], size)
            with vmtest.map_buffer(fd, size) as memory:
                self.assertEqual(memory[:], bytes(size))
                memory[:] = b"x" * size
        # Memory of earlier buffers comes back zeroed.
        self.assert_zeroed(self.assert_served(vmtest.allocate(size=size), "udmabuf"), size)

    def assert_zeroed(self, reply, size):
        with vmtest.map_buffer(reply.fds[0], size) as memory:
            self.assertEqual(memory[:], bytes(size))

    def test_a_buffer_can_be_neither_shrunk_nor_grown(self):
        """The memfd behind it is sealed against shrinking and closed; the dma-buf itself has a fixed size."""
        reply = self.assert_served(vmtest.allocate(size=MIB), "udmabuf")
        for size in (0, 2 * MIB):
            with self.subTest(size=size), self.assertRaises(OSError):
                os.ftruncate(reply.fds[0], size)
        self.assertEqual(vmtest.fdinfo(reply.fds[0])["size"], str(MIB))

    def test_a_driver_imports_a_buffer(self):
        vmtest.run("modprobe", "vgem")
        card = os.open("/dev/dri/card0", os.O_RDWR | os.O_CLOEXEC)
        self.addCleanup(os.close, card)
        fd = self.assert_served(vmtest.allocate(size=MIB), "udmabuf").fds[0]
        data = bytearray(struct.pack("IIi", 0, 0, fd))
        fcntl.ioctl(card, PRIME_FD_TO_HANDLE, data)
        data = bytearray(struct.pack("IIi", struct.unpack_from("I", data)[0], os.O_RDWR | os.O_CLOEXEC, -1))
        fcntl.ioctl(card, PRIME_HANDLE_TO_FD, data)
        exported = struct.unpack("IIi", data)[2]
        self.addCleanup(os.close, exported)
        self.assertEqual(os.fstat(exported).st_ino, os.fstat(fd).st_ino)
        with vmtest.map_buffer(fd, MIB) as memory, vmtest.map_buffer(exported, MIB) as same:
            memory[12345] = 77
            self.assertEqual(same[12345], 77)

    def test_udmabuf_is_listed_in_the_role_system(self):
        found = {heap["name"]: heap for heap in vmtest.call("ListHeaps")["heaps"]}
        heap = found["udmabuf"]
        self.assertEqual((heap["state"], heap["roles"], heap["accounting"]), ("ready", ["system"], "kernel"))
        self.assertNotIn("loadable", [heap["state"] for heap in found.values()])


class Unavailable(FallbackTest):
    """Requests that udmabuf cannot serve."""

    def test_contiguous_memory_needs_a_module_that_is_not_installed(self):
        self.assert_not_installed(vmtest.allocate(role="contiguous", size=PAGE), "default_cma_region", "cma_heap")

    def test_the_system_heap_needs_a_module_that_is_not_installed(self):
        self.assert_not_installed(vmtest.allocate(heap="system", size=PAGE), "system", "system_heap")

    def test_no_heap_has_the_role_protected(self):
        self.assert_error(vmtest.allocate(role="protected", size=PAGE), "NoSuchHeap", role="protected")

    def test_udmabuf_has_no_read_only_buffers(self):
        reply = vmtest.allocate(role="system", size=PAGE, access="readOnly")
        self.assert_error(reply, "HeapUnavailable", heap="udmabuf")
        self.assertIn("read-only", reply["reason"])
        self.assert_error(vmtest.allocate(heap="udmabuf", size=PAGE, access="readOnly"), INVALID_PARAMETER,
                          parameter="access")

    def test_udmabufs_limit_is_told_and_its_change_is_noticed(self):
        with open(SIZE_LIMIT, encoding="ascii") as file:
            before = file.read()
        self.addCleanup(set_size_limit, before)
        set_size_limit("2")
        for heap in ({"heap": "udmabuf"}, {"role": "system"}):
            with self.subTest(**heap):
                self.assert_served(vmtest.allocate(size=2 * MIB, **heap), "udmabuf")
                reply = vmtest.allocate(size=2 * MIB + 1, **heap)
                self.assert_error(reply, "HeapUnavailable", heap="udmabuf")
                for word in ("2 MiB", "udmabuf.size_limit_mb"):
                    self.assertIn(word, reply["reason"])
        set_size_limit("3")
        self.assert_served(vmtest.allocate(size=2 * MIB + 1), "udmabuf")


def set_size_limit(text):
    with open(SIZE_LIMIT, "w", encoding="ascii") as file:
        file.write(text)


class Installed(FallbackTest):
    """This class is the last: it installs the modules while the daemon runs."""

    def test_modules_that_are_installed_later_are_found(self):
        pid = vmtest.unit_pid()
        shutil.move(AWAY, OURS)
        depmod()
        self.assert_served(vmtest.allocate(heap="system", size=PAGE), "system")
        self.assert_served(vmtest.allocate(role="system", size=PAGE), "system")
        self.assert_served(vmtest.allocate(role="contiguous", size=PAGE), "default_cma_region")
        self.assertEqual(vmtest.unit_pid(), pid)


if __name__ == "__main__":
    vmtest.main()
