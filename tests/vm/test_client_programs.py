#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" enable=dmaheapd.socket
"""Programs allocate with the library, with the preload library, and without any, and use real devices."""

import ctypes
import errno
import glob
import os
import re
import signal
import subprocess
import threading
import time
import unittest

import vmtest

AS_USER1 = ["setpriv", "--reuid", "user1", "--regid", "user1", "--init-groups"]
EXAMPLES = glob.glob("/usr/lib*/**/dmaheapd/examples", recursive=True)[0]
DMA_HEAP_IOCTL_ALLOC = 0xC0184800


def example(name, *arguments, **options):
    return vmtest.run(*AS_USER1, f"{EXAMPLES}/{name}", *arguments, **options)


def video_device():
    """vivid's camera, with permission for user1 to open it."""
    vmtest.run("udevadm", "settle")  # udev would set the mode again
    for path in sorted(glob.glob("/dev/video*")):
        with open(f"/sys/class/video4linux/{os.path.basename(path)}/name", encoding="ascii") as file:
            if "vid-cap" in file.read():
                os.chmod(path, 0o666)
                return path
    raise AssertionError("no camera")


class Examples(unittest.TestCase):
    def test_simple_says_hello_or_why_not(self):
        self.assertEqual(example("simple"), "hello\n")
        self.assertEqual(example("simple", "contiguous"), "hello\n")
        done = example("simple", "nosuch", check=False)
        self.assertEqual((done.returncode, done.stderr), (1, "no buffer: no heap for the role 'nosuch'\n"))

    def test_event_loop_allocates_and_monitors(self):
        said = example("event-loop", "contiguous")
        self.assertIn("4 buffers from heap default_cma_region", said)
        self.assertIn("heap system:", said)

    def test_python_needs_no_library(self):
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
        # Each frame is a new one, all four buffers are used, and each has a whole frame with vivid's eight bars.
        self.assertEqual(len({number for number, *_ in frames}), 8)
        self.assertEqual({buffer for _, buffer, *_ in frames}, set("0123"))
        for _, _, size, colours in frames:
            self.assertGreater(int(size), 100000)
            self.assertGreaterEqual(int(colours), 8)

    def test_v4l2_captures_into_system_memory(self):
        self.capture([], "system", "system")

    def test_v4l2_captures_into_contiguous_memory(self):
        self.capture(["allocators=1"], "contiguous", "default_cma_region")

    def test_drm_imports_a_buffer(self):
        vmtest.run("modprobe", "vgem")
        card = vmtest.wait_until(lambda: glob.glob("/dev/dri/card*"))[0]
        vmtest.run("udevadm", "settle")
        os.chmod(card, 0o666)
        for role in ("system", "contiguous"):
            with self.subTest(role=role):
                self.assertIn("the same memory", example("drm-import", card, role))


UNREACHABLE, DISCONNECTED, NO_ANSWER = 10, 11, 12  # of enum DmaHeapReason


class Connection:
    """A connection of libdmaheap, used as a C program uses it."""

    def __init__(self):
        self.library = ctypes.CDLL("libdmaheap.so.0")
        self.library.dmaheap_error_free.restype = ctypes.c_void_p
        self.handle = ctypes.c_void_p()
        assert self.library.dmaheap_connection_new(None, ctypes.byref(self.handle)) == 0

    def set_timeout(self, usec):
        assert self.library.dmaheap_connection_set_timeout(self.handle, ctypes.c_uint64(usec)) == 0

    def allocate(self):
        """Allocates a page: (0, None), or a negative errno and the reason."""
        error = ctypes.c_void_p()
        fd = self.library.dmaheap_allocate_fd(self.handle, b"system", ctypes.c_uint64(4096), ctypes.byref(error))
        if fd >= 0:
            os.close(fd)
            return 0, None
        reason = self.library.dmaheap_error_reason(error)
        self.library.dmaheap_error_free(error)
        return fd, reason

    def free(self):
        self.library.dmaheap_connection_free(self.handle)


class InTheMiddle(unittest.TestCase):
    """The daemon is stopped, restarted or killed while a C program waits for its reply."""

    def setUp(self):
        vmtest.systemctl("start", "dmaheapd.socket")
        self.connection = Connection()
        self.addCleanup(self.connection.free)
        self.assertEqual(self.connection.allocate(), (0, None))

    def during_a_call(self, event):
        """The result of an allocation that waits for its reply when event() happens to the daemon."""
        pid = vmtest.unit_pid()
        os.kill(pid, signal.SIGSTOP)
        results = []
        caller = threading.Thread(target=lambda: results.append(self.connection.allocate()))
        caller.start()

        def waits():
            with open(f"/proc/self/task/{caller.native_id}/wchan", encoding="ascii") as file:
                return "poll" in file.read()
        vmtest.wait_until(waits)
        event(pid)
        caller.join(30)
        self.assertFalse(caller.is_alive(), "the call hangs")
        return results[0]

    def test_a_daemon_that_is_killed_ends_the_call(self):
        said = self.during_a_call(lambda pid: os.kill(pid, signal.SIGKILL))
        self.assertEqual(said, (-errno.ECONNRESET, DISCONNECTED))
        self.assertEqual(self.connection.allocate(), (0, None))

    def test_a_daemon_that_is_stopped_ends_the_call(self):
        # The call has been sent already, so the daemon may answer it before it ends.
        said = self.during_a_call(lambda _: vmtest.systemctl("stop", "dmaheapd.socket", "dmaheapd.service"))
        self.assertIn(said, ((0, None), (-errno.ECONNRESET, DISCONNECTED)))
        self.assertEqual(self.connection.allocate(), (-errno.ECONNREFUSED, UNREACHABLE))
        vmtest.systemctl("start", "dmaheapd.socket")
        self.assertEqual(self.connection.allocate(), (0, None))

    def test_a_restart_between_calls_is_not_noticed(self):
        vmtest.systemctl("restart", "dmaheapd.service")
        self.assertEqual(self.connection.allocate(), (0, None))

    def test_a_daemon_that_does_not_answer_is_a_timeout(self):
        self.connection.set_timeout(1000000)
        begin = time.monotonic()
        said = self.during_a_call(lambda _: None)
        self.assertEqual(said, (-errno.ETIMEDOUT, NO_ANSWER))
        self.assertTrue(1 <= time.monotonic() - begin < 10)
        os.kill(vmtest.unit_pid(), signal.SIGCONT)
        self.connection.set_timeout(45000000)
        self.assertEqual(self.connection.allocate(), (0, None))


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

    def test_a_program_allocates_from_both_heaps(self):
        for heap in ("system", "default_cma_region"):
            with self.subTest(heap=heap):
                said = self.run_program(f"""
fd = heap_ioctl(os.open("/dev/dma_heap/{heap}", os.O_RDWR), 5000)
print(open(f"/proc/self/fdinfo/{{fd}}").read())
""")
                self.assertIn(f"exp_name:\t{heap}\n", said)
                self.assertIn("size:\t8192\n", said)

    def test_open_mode_decides_access(self):
        """O_RDONLY asks the daemon for readOnly: such a buffer can be mapped, but not writable. O_RDWR asks for
        readWrite."""
        said = self.run_program("""
import mmap
def allocate(heap, mode):
    data = bytearray(struct.pack("=QIIQ", 4096, 0, mode | os.O_CLOEXEC, 0))
    fcntl.ioctl(os.open("/dev/dma_heap/" + heap, os.O_RDWR), 0xC0184800, data)
    return struct.unpack("=QIIQ", data)[1]
def map_writable(fd):
    try:
        mmap.mmap(fd, 4096)
    except OSError as e:
        return errno.errorcode[e.errno]
    return "mapped"
for heap in ("system", "default_cma_region"):
    for mode in (os.O_RDONLY, os.O_RDWR):
        fd = allocate(heap, mode)
        mmap.mmap(fd, 4096, prot=mmap.PROT_READ)
        print(map_writable(fd))
""")
        self.assertEqual(said.split(), ["EACCES", "mapped"] * 2)

    def test_the_nodes_look_as_if_they_were_open_to_everyone(self):
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

    def test_programs_that_use_no_heap_do_not_notice(self):
        for command in (["ls", "-laR", "/etc"], ["find", "/usr/bin"], ["tar", "-cf", "/dev/null", "/usr/share/doc"],
                        ["stat", "/dev/null", "/etc"], ["systemctl", "--version"]):
            with self.subTest(command=command):
                plain = subprocess.run(command, capture_output=True, check=False)
                preloaded = subprocess.run(["dmaheap-run", *command], capture_output=True, check=False)
                self.assertEqual((preloaded.returncode, preloaded.stdout), (plain.returncode, plain.stdout))

    def test_wrong_use_has_the_shells_statuses(self):
        self.assertEqual(vmtest.run("dmaheap-run", check=False).returncode, 2)
        self.assertEqual(vmtest.run("dmaheap-run", "--nosuch", check=False).returncode, 2)
        self.assertEqual(vmtest.run("dmaheap-run", "/nonexistent", check=False).returncode, 127)
        self.assertEqual(vmtest.run("dmaheap-run", "/etc/passwd", check=False).returncode, 126)
        self.assertIn("dmaheap-run COMMAND", vmtest.run("dmaheap-run", "--help").replace("[OPTIONS] ", ""))


if __name__ == "__main__":
    vmtest.main()
