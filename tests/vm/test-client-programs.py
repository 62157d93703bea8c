#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" enable=dmaheapd.socket
"""Programs that use the library, the preload library, or no library at all, with real devices."""

import errno
import glob
import os
import re
import subprocess
import unittest

import vmtest

AS_USER1 = ["setpriv", "--reuid", "user1", "--regid", "user1", "--init-groups"]
EXAMPLES = glob.glob("/usr/lib*/**/dmaheapd/examples", recursive=True)[0]
DMA_HEAP_IOCTL_ALLOC = 0xC0184800


def example(name, *arguments, **options):
    return vmtest.run(*AS_USER1, f"{EXAMPLES}/{name}", *arguments, **options)


def video_device():
    """The camera among vivid's devices, made such that user1 may open it."""
    vmtest.run("udevadm", "settle")  # which would set the mode anew
    for path in sorted(glob.glob("/dev/video*")):
        with open(f"/sys/class/video4linux/{os.path.basename(path)}/name", encoding="ascii") as file:
            if "vid-cap" in file.read():
                os.chmod(path, 0o666)
                return path
    raise AssertionError("no camera")


class Examples(unittest.TestCase):
    def test_simple(self):
        self.assertEqual(example("simple"), "hello\n")
        self.assertEqual(example("simple", "contiguous"), "hello\n")
        done = example("simple", "nosuch", check=False)
        self.assertEqual((done.returncode, done.stderr), (1, "no buffer: no heap for the role 'nosuch'\n"))

    def test_event_loop(self):
        said = example("event-loop", "contiguous")
        self.assertIn("4 buffers from heap default_cma_region", said)
        self.assertIn("heap system:", said)

    def test_without_a_library(self):
        self.assertRegex(example("allocate.py"), r"^buffer \d+ of 1048576 bytes from heap system\n$")


class Devices(unittest.TestCase):
    def capture(self, vivid_options, role, heap):
        vmtest.run("modprobe", "vivid", "n_devs=1", "node_types=0x1", *vivid_options)
        try:
            device = vmtest.wait_until(lambda: glob.glob("/dev/video*") and video_device())
            said = example("v4l2-capture", device, role)
        finally:
            vmtest.run("modprobe", "-r", "vivid")
        self.assertTrue(said.splitlines()[-1].endswith(f"from heap {heap}"), said)
        frames = re.findall(r"frame (\d+) in buffer (\d): (\d+) bytes, (\d+) colours", said)
        self.assertEqual(len(frames), 8)
        # Each of them anew, in all of the buffers, whole, and showing vivid's eight bars.
        self.assertEqual(len({number for number, *_ in frames}), 8)
        self.assertEqual({buffer for _, buffer, *_ in frames}, set("0123"))
        for _, _, size, colours in frames:
            self.assertGreater(int(size), 100000)
            self.assertGreaterEqual(int(colours), 8)

    def test_capture(self):
        self.capture([], "system", "system")

    def test_capture_that_wants_contiguous_memory(self):
        self.capture(["allocators=1"], "contiguous", "default_cma_region")

    def test_drm_import(self):
        vmtest.run("modprobe", "vgem")
        card = vmtest.wait_until(lambda: glob.glob("/dev/dri/card*"))[0]
        vmtest.run("udevadm", "settle")
        os.chmod(card, 0o666)
        for role in ("system", "contiguous"):
            self.assertIn("the same memory", example("drm-import", card, role))


PROGRAM = f"""
import errno, fcntl, os, struct, sys
def heap_ioctl(heap_fd, size):
    data = bytearray(struct.pack("=QIIQ", size, 0, os.O_RDWR | os.O_CLOEXEC, 0))
    fcntl.ioctl(heap_fd, {DMA_HEAP_IOCTL_ALLOC}, data)
    return struct.unpack("=QIIQ", data)[1]
"""


class Preload(unittest.TestCase):
    def run_program(self, text, prefix=AS_USER1):
        return vmtest.run(*prefix, "dmaheap-run", "python3", "-c", PROGRAM + text)

    def test_without_it_the_node_is_closed(self):
        self.assertRaises(PermissionError, vmtest.as_user, "user1", os.open, "/dev/dma_heap/system", os.O_RDWR)

    def test_allocates(self):
        for heap in ("system", "default_cma_region"):
            said = self.run_program(f"""
fd = heap_ioctl(os.open("/dev/dma_heap/{heap}", os.O_RDWR), 5000)
print(open(f"/proc/self/fdinfo/{{fd}}").read())
""")
            self.assertIn(f"exp_name:\t{heap}\n", said)
            self.assertIn("size:\t8192\n", said)

    def test_listing(self):
        said = vmtest.run(*AS_USER1, "dmaheap-run", "ls", "-l", "/dev/dma_heap/")
        self.assertRegex(said, r"(?m)^crw-rw-rw- .* system$")
        self.assertRegex(said, r"(?m)^crw-rw-rw- .* default_cma_region$")
        vmtest.run(*AS_USER1, "dmaheap-run", "test", "-r", "/dev/dma_heap/system", "-a", "-c", "/dev/dma_heap/system")

    def test_errors_are_the_kernels(self):
        said = self.run_program("""
def error(function, *arguments):
    try:
        function(*arguments)
    except OSError as e:
        return errno.errorcode[e.errno]
print(error(os.open, "/dev/dma_heap/nosuch", os.O_RDWR), error(os.open, "/dev/mem", os.O_RDWR))
fd = os.open("/dev/dma_heap/default_cma_region", os.O_RDWR)
print(error(heap_ioctl, fd, 0), error(heap_ioctl, fd, 100 << 20))
""")
        self.assertEqual(said.split(), ["ENOENT", "EACCES", "EINVAL", "ENOMEM"])

    def test_quota_is_enomem(self):
        done = vmtest.run_in_unit("limited", "dmaheap-run", "--verbose", "python3", "-c", PROGRAM + """
try:
    heap_ioctl(os.open("/dev/dma_heap/system", os.O_RDWR), 64 << 20)
except OSError as e:
    sys.exit(e.errno)
""", check=False, user="user1", MemoryMax="32M")
        self.assertEqual(done.returncode, errno.ENOMEM)
        self.assertIn("over the limit of the cgroup", done.stderr)

    def test_programs_of_debian(self):
        """None of them is about heaps: they must not notice."""
        for command in (["ls", "-laR", "/etc"], ["find", "/usr/bin"], ["tar", "-cf", "/dev/null", "/usr/share/doc"],
                        ["stat", "/dev/null", "/etc"], ["systemctl", "--version"]):
            with self.subTest(command):
                plain = subprocess.run(command, capture_output=True, check=False)
                preloaded = subprocess.run(["dmaheap-run", *command], capture_output=True, check=False)
                self.assertEqual((preloaded.returncode, preloaded.stdout), (plain.returncode, plain.stdout))

    def test_usage(self):
        self.assertEqual(vmtest.run("dmaheap-run", check=False).returncode, 2)
        self.assertEqual(vmtest.run("dmaheap-run", "--nosuch", check=False).returncode, 2)
        self.assertEqual(vmtest.run("dmaheap-run", "/nonexistent", check=False).returncode, 127)
        self.assertEqual(vmtest.run("dmaheap-run", "/etc/passwd", check=False).returncode, 126)
        self.assertIn("dmaheap-run COMMAND", vmtest.run("dmaheap-run", "--help").replace("[OPTIONS] ", ""))


if __name__ == "__main__":
    vmtest.main()
