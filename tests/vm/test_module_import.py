#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=tristate append="cma=64M" timeout=900
"""Other drivers use our buffers: vgem imports them, and vivid fills them with frames."""

import ctypes
import errno
import fcntl
import os
import struct
import unittest

import heaps
import vmtest
from heaps import CMA, PAGE, SYSTEM


class Vgem(heaps.HeapTest):
    """DRM's PRIME import, done by a driver without hardware."""

    PRIME_FD_TO_HANDLE = heaps.iowr("d", 0x2e, 12)
    PRIME_HANDLE_TO_FD = heaps.iowr("d", 0x2d, 12)
    GEM_CLOSE = 1 << 30 | 8 << 16 | ord("d") << 8 | 0x09

    @classmethod
    def setUpClass(cls):
        heaps.modprobe("vgem")
        super().setUpClass()

    def setUp(self):
        self.card = os.open("/dev/dri/card0", os.O_RDWR | os.O_CLOEXEC)
        self.addCleanup(os.close, self.card)

    def import_buffer(self, fd):
        data = bytearray(struct.pack("IIi", 0, 0, fd))
        fcntl.ioctl(self.card, self.PRIME_FD_TO_HANDLE, data)
        handle = struct.unpack_from("I", data)[0]
        self.addCleanup(fcntl.ioctl, self.card, self.GEM_CLOSE, struct.pack("II", handle, 0))
        return handle

    def test_vgem_exports_the_buffer_that_it_imported(self):
        for name in (SYSTEM, CMA):
            for size in (PAGE, 700 * PAGE):
                with self.subTest(heap=name, size=size):
                    fd = self.allocate(name, size)
                    data = bytearray(struct.pack("IIi", self.import_buffer(fd), os.O_RDWR | os.O_CLOEXEC, -1))
                    fcntl.ioctl(self.card, self.PRIME_HANDLE_TO_FD, data)
                    exported = struct.unpack("IIi", data)[2]
                    self.addCleanup(os.close, exported)
                    self.assertEqual(os.fstat(exported).st_ino, os.fstat(fd).st_ino)
                    heaps.fill(fd, 1)
                    self.assertTrue(heaps.is_filled(exported, 1))

    def test_an_import_keeps_the_buffer_alive(self):
        for name in (SYSTEM, CMA):
            with self.subTest(heap=name):
                before = vmtest.live_buffers()
                fd = self.allocate(name, PAGE)
                self.import_buffer(fd)
                os.close(fd)
                self.assertEqual(len(vmtest.live_buffers() - before), 1)

    def test_read_only_buffers_import_too(self):
        for name in (SYSTEM, CMA):
            with self.subTest(heap=name):
                self.import_buffer(self.allocate(name, PAGE, fd_flags=os.O_RDONLY))


class Timeval(ctypes.Structure):
    _fields_ = [("sec", ctypes.c_long), ("usec", ctypes.c_long)]


class V4l2Buffer(ctypes.Structure):
    _fields_ = [("index", ctypes.c_uint32), ("type", ctypes.c_uint32), ("bytesused", ctypes.c_uint32),
                ("flags", ctypes.c_uint32), ("field", ctypes.c_uint32), ("timestamp", Timeval),
                ("timecode", ctypes.c_uint32 * 4), ("sequence", ctypes.c_uint32), ("memory", ctypes.c_uint32),
                ("fd", ctypes.c_int64), ("length", ctypes.c_uint32), ("reserved2", ctypes.c_uint32),
                ("request_fd", ctypes.c_int32)]


class Camera:
    """vivid's capture device, which writes its frames into dma-bufs."""

    CAPTURE = 1
    DMABUF = 4
    G_FMT = heaps.iowr("V", 4, 208)
    REQBUFS = heaps.iowr("V", 8, 20)
    QBUF = heaps.iowr("V", 15, 88)
    DQBUF = heaps.iowr("V", 17, 88)
    STREAMON = 1 << 30 | 4 << 16 | ord("V") << 8 | 18

    def __init__(self):
        self.fd = os.open(heaps.video_node(), os.O_RDWR | os.O_CLOEXEC)
        data = bytearray(208)
        struct.pack_into("I", data, 0, self.CAPTURE)
        fcntl.ioctl(self.fd, self.G_FMT, data)
        # Type, then, aligned to 8 bytes: width, height, pixelformat, field, bytesperline, sizeimage.
        self.size = struct.unpack_from("I", data, 28)[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.fd)

    def capture(self, fd):
        """Makes vivid write one frame into the buffer."""
        fcntl.ioctl(self.fd, self.REQBUFS, bytearray(struct.pack("IIIII", 2, self.CAPTURE, self.DMABUF, 0, 0)))
        second = heaps.allocate(CMA, self.size)
        try:
            for index, buffer_fd in ((0, fd), (1, second)):
                buffer = V4l2Buffer(index=index, type=self.CAPTURE, memory=self.DMABUF, fd=buffer_fd, length=self.size)
                fcntl.ioctl(self.fd, self.QBUF, buffer)
            fcntl.ioctl(self.fd, self.STREAMON, struct.pack("i", self.CAPTURE))
            buffer = V4l2Buffer(type=self.CAPTURE, memory=self.DMABUF)
            fcntl.ioctl(self.fd, self.DQBUF, buffer)
            assert buffer.index == 0 and not buffer.flags & 0x40, "the frame is marked as bad"
        finally:
            os.close(second)


class Vivid(heaps.HeapTest):
    """V4L2, with buffers that vivid maps into the kernel and, in VividContiguous, with such as it wants contiguous."""

    ALLOCATORS = 0  # vmalloc: anything the kernel can map

    @classmethod
    def setUpClass(cls):
        vmtest.run("modprobe", "vivid", f"allocators={cls.ALLOCATORS}", "n_devs=1", "node_types=0x1")
        vmtest.wait_until(heaps.video_node)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        vmtest.wait_until(lambda: vmtest.run("rmmod", "vivid", check=False).returncode == 0, what="vivid is busy")

    def check_frame(self, fd):
        with heaps.Mapped(fd, heaps.buffer_size(fd)) as mapped:
            n_values = len(set(mapped.map[:64 * heaps.KIB]))
        self.assertGreater(n_values, 4, "this is not a test pattern")

    def test_a_frame_fits_into_a_contiguous_buffer(self):
        with Camera() as camera:
            fd = self.allocate(CMA, camera.size)
            camera.capture(fd)
            self.check_frame(fd)

    def test_a_frame_in_scattered_pages(self):
        with Camera() as camera:
            fd = self.allocate_scattered(camera.size)
            camera.capture(fd)
            self.check_frame(fd)

    def allocate_scattered(self, size):
        """A buffer of the system heap in at least two pieces, as dmabuf_probe counts them."""
        for _ in range(64):
            fd = self.allocate(SYSTEM, size)
            if not is_contiguous(fd):
                return fd
        raise AssertionError("no buffer is scattered")


class VividContiguous(Vivid):
    ALLOCATORS = 1  # dma-contig

    def test_a_frame_in_scattered_pages(self):
        with Camera() as camera:
            self.assert_errno(errno.EFAULT, camera.capture, self.allocate_scattered(camera.size))


def is_contiguous(fd):
    return heaps.probe("map", fd)[1] == 1


if __name__ == "__main__":
    vmtest.main()
