#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=stock append="cma=64M" memory=3072 enable=dmaheapd.socket foreign=/srv/foreign
"""Programs of Debian under dmaheap-run, each in a root of its own (foreign_tree of tests/testbed.d/trees.sh).

Of Debian 13's programs, two allocate from dma-heaps: libcamera's cam and GStreamer with libcamera's element. The
virtual camera of libcamera needs no hardware, and takes its buffers from the first heap it finds of linux,cma, reserved
and system. The programs that test V4L2 and DRM devices use no heap, and must not notice the preload library. Zsh
completes our commands."""

import contextlib
import glob
import os
import pty
import re
import select
import shutil
import time
import unittest

import vmtest

ROOT = "/srv/foreign"
PRELOAD = os.path.dirname(glob.glob("/usr/lib/**/libdmaheap-preload.so", recursive=True)[0])
CAMERA = """"Virtual0":
  supported_formats:
  - width: 640
    height: 480
    frame_rates:
    - 30
  test_pattern: "bars"
  location: "CameraLocationFront"
  model: "Virtual Video Device"
"""
FRAME_SIZE = 640 * 480 * 3 // 2  # NV12
RUN = ["/usr/bin/dmaheap-run", "--verbose"]
GSTREAMER = ["/usr/bin/gst-launch-1.0", "--no-fault", "libcamerasrc", "!"]
TO_FILE = ["identity", "eos-after=4", "!", "filesink", "location=/tmp/gst"]


def properties(**more):
    """Settings of a unit whose root has the programs of others and, of ours, only what a container would be given."""
    return {"RootDirectory": ROOT, "MountAPIVFS": "yes", "WorkingDirectory": "/tmp",
            "BindReadOnlyPaths": f"/run/dmaheapd /run/udev /usr/bin/dmaheap-run {PRELOAD}", "RuntimeMaxSec": "120",
            "Environment": "HOME=/tmp GST_REGISTRY=/tmp/registry LIBCAMERA_LOG_FILE=/dev/null", **more}


def run_inside(*command, user=None, check=True, **more):
    return vmtest.run_in_unit("foreign", *command, user=user, check=check, **properties(**more))


@contextlib.contextmanager
def running(*command):
    vmtest.start_unit("foreign", *command, user="user1", **properties())
    try:
        yield
    finally:
        vmtest.stop_unit("foreign")


def held():
    return vmtest.call("ListBuffers", unit="foreign.service")["buffers"]


class Cameras(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = ROOT + "/usr/share/libcamera/pipeline/virtual"
        os.makedirs(folder, exist_ok=True)
        with open(folder + "/virtual.yaml", "w", encoding="ascii") as file:
            file.write(CAMERA)
        os.chmod(ROOT + "/tmp", 0o1777)

    def check_frames(self, path, n):
        with open(path, "rb") as file:
            data = file.read()
        os.unlink(path)
        self.assertEqual(len(data) % FRAME_SIZE, 0)
        self.assertIn(len(data) // FRAME_SIZE, n)
        for start in range(0, len(data), FRAME_SIZE):
            line = data[start + 640 * 240:start + 640 * 241]
            self.assertGreaterEqual(len(set(line)), 7, "no bars")

    def check_accounts(self, *command):
        """The command's buffers are charged to its unit while it runs, and are gone when it has ended."""
        with running(*command):
            buffers = vmtest.wait_until(held, 60)
            self.assertEqual({(b["uid"], b["heap"]) for b in buffers}, {(1000, "reserved")})
        vmtest.wait_until(lambda: not held(), what="the buffers are gone")

    def test_without_dmaheap_run_there_is_no_memory(self):
        done = run_inside("/usr/bin/cam", "-c", "1", "--capture=2", user="user1", check=False)
        self.assertNotEqual(done.returncode, 0)

    def test_cam_captures_frames(self):
        # cam leaves the file empty that it should write frames to. The contents of frames are checked with GStreamer
        # below.
        said = run_inside(*RUN, "/usr/bin/cam", "-c", "1", "--capture=4", user="user1")
        self.assertEqual(len(re.findall(r"bytesused: ", said)), 4, said)
        self.check_accounts(*RUN, "/usr/bin/cam", "-c", "1", "--capture")

    def test_gstreamer_captures_frames(self):
        run_inside(*RUN, *GSTREAMER, *TO_FILE, user="user1")
        self.check_frames(ROOT + "/tmp/gst", [3, 4])  # GStreamer may drop the last one
        self.check_accounts(*RUN, *GSTREAMER, "fakesink")

    def test_a_limit_in_the_way_is_told(self):
        folder = "/etc/dmaheapd/dmaheapd.conf.d"
        os.makedirs(folder, exist_ok=True)
        with open(folder + "/foreign.conf", "w", encoding="ascii") as file:
            file.write("[Client foreign.service]\nClientBuffersMax=2\n")
        vmtest.systemctl("try-reload-or-restart", "dmaheapd.service")
        try:
            done = run_inside(*RUN, "/usr/bin/cam", "-c", "1", "--capture=2", user="user1", check=False)
        finally:
            os.unlink(folder + "/foreign.conf")
            vmtest.systemctl("try-reload-or-restart", "dmaheapd.service")
        self.assertIn("dmaheap-run: cannot allocate from reserved: over the limit of the client foreign.service: "
                      "2 buffers allowed", done.stderr)
        self.assertNotEqual(done.returncode, 0)


def steady(text):
    """The lines of a text without the controls whose value the device changes by itself."""
    return [line for line in text.splitlines() if "volatile" not in line]


class Devices(unittest.TestCase):
    """Programs that use no heap print and do the same under dmaheap-run as without it."""

    def same(self, *command):
        plain = run_inside(*command, check=False)
        preloaded = run_inside("/usr/bin/dmaheap-run", *command, check=False)
        self.assertTrue(plain.stdout + plain.stderr)
        self.assertEqual((preloaded.returncode, steady(preloaded.stdout), steady(preloaded.stderr)),
                         (plain.returncode, steady(plain.stdout), steady(plain.stderr)))
        return plain.stdout

    def test_v4l2_programs_do_the_same(self):
        vmtest.run("modprobe", "vivid", "n_devs=1", "node_types=0x1")
        try:
            device = vmtest.wait_until(lambda: glob.glob("/dev/video*"))[0]
            vmtest.run("udevadm", "settle")
            self.assertIn("vivid", self.same("/usr/bin/v4l2-ctl", "--list-devices"))
            self.assertIn("brightness", self.same("/usr/bin/v4l2-ctl", "-d", device, "--all"))
            self.assertIn("Total for vivid", self.same("/usr/bin/v4l2-compliance", "-d", device))
            for mode in ("--stream-mmap", "--stream-user"):
                with self.subTest(mode=mode):
                    done = run_inside("/usr/bin/dmaheap-run", "/usr/bin/v4l2-ctl", "-d", device, mode,
                                      "--stream-count=3", "--stream-to=/tmp/stream", check=False)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertGreater(os.path.getsize(ROOT + "/tmp/stream"), 3 * 100000)
        finally:
            vmtest.run("modprobe", "-r", "vivid")

    def test_drm_programs_do_the_same(self):
        vmtest.run("modprobe", "vgem")
        vmtest.wait_until(lambda: glob.glob("/dev/dri/card*"))
        vmtest.run("udevadm", "settle")
        self.same("/usr/bin/drmdevice")
        self.same("/usr/bin/modetest", "-M", "vgem")
        self.same("/usr/bin/proptest", "-M", "vgem")


class Zsh(unittest.TestCase):
    """zsh on a terminal completes our commands."""

    @classmethod
    def setUpClass(cls):
        shutil.copytree("/usr/share/zsh/site-functions", ROOT + "/completions")
        vmtest.run("mount", "--bind", "/dev", ROOT + "/dev")
        cls.addClassCleanup(vmtest.run, "umount", ROOT + "/dev")

    def complete(self, line, *expected):
        """Types a line and the tab key, and waits for all that is expected."""
        pid, fd = pty.fork()
        if pid == 0:
            os.chroot(ROOT)
            os.chdir("/tmp")
            os.execve("/usr/bin/zsh", ["zsh", "-f", "-i"], {"TERM": "xterm", "PATH": "/usr/bin", "LC_ALL": "C.UTF-8"})
        said = ""

        def read_until(done):
            nonlocal said
            deadline = time.monotonic() + 60
            while not done():
                if not select.select([fd], [], [], max(0, deadline - time.monotonic()))[0]:
                    self.fail(f"{line}: {said!r}")
                said += re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", os.read(fd, 65536).decode())
        try:
            os.write(fd, b"PS1='READ''Y> '; fpath=(/completions $fpath); autoload -U compinit; compinit -u -D; "
                         b"LISTMAX=1000\n")
            read_until(lambda: said.count("READY> ") >= 1)
            said = ""
            os.write(fd, line.encode() + b"\t")
            read_until(lambda: all(re.search(pattern, said) for pattern in expected))
        finally:
            os.close(fd)
            os.waitpid(pid, 0)

    def test_commands_and_options_are_completed(self):
        verbs = re.search(r"Commands:\n(.*?)\n\n", vmtest.run("dmaheapctl", "--help"), re.S)[1]
        verbs = re.findall(r"^  ([a-z]+)", verbs, re.M)
        self.assertGreater(len(verbs), 5)
        self.complete("dmaheapctl ", *(rf"\n{verb} +-- " for verb in verbs))
        for verb in verbs:
            with self.subTest(verb=verb):
                options = re.findall(r"^  (?:-., )?(--[a-z-]+)", vmtest.run("dmaheapctl", verb, "--help"), re.M)
                self.assertGreater(len(options), 3)
                self.complete(f"dmaheapctl {verb} --", *(rf"\n{option} +-- " for option in options))
        options = re.findall(r"^  (?:-., )?(--[a-z-]+)", vmtest.run("dmaheap-run", "--help"), re.M)
        self.complete("dmaheap-run --", *(rf"\n{option} +-- " for option in options))

    def test_values_are_completed(self):
        for line, expected in (("dmaheapctl allocate --role=c", "--role=contiguous "),
                               ("dmaheapctl --json=p", "--json=pretty "),
                               ("dmaheapctl allocate 8M -- modep", "-- modeprint "),
                               ("dmaheap-run modep", "modeprint "),
                               ("dmaheapctl allocate 8M -- cat /us", "cat /usr/")):
            with self.subTest(line=line):
                self.complete(line, re.escape(expected))


if __name__ == "__main__":
    vmtest.main()
