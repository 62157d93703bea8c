# SPDX-License-Identifier: GPL-2.0-only
"""One virtual machine: its folder, its start, and waiting for what its script says.

A machine never outlives the run: it dies with this process, however that happens. What its script prints is copied byte
for byte while it runs. The folder is kept when a run fails, and goes when it succeeds."""

import datetime
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import door
from failure import Failure, tell_progress

# The machine has to reach multi-user.target in so many seconds. The debug kernel, all of whose checks are emulated, on
# a busy host, may take four times as long.
BOOT_TIMEOUT = 300
N_TRIES = 3

PORTS = ("stdout", "stderr", "status")


class WentDown(Failure):
    """The machine is gone, and its script has not ended. 'began' says whether it had begun."""

    def __init__(self, reason, began):
        super().__init__(reason)
        self.began = began


class Copier(threading.Thread):
    """Copies a file that grows to one of our file descriptors, until finish() or until nobody reads that any more.

    It is a thread, so that a reader that is in no hurry stops neither the machine nor its timeouts.
    """

    def __init__(self, path, to_fd):
        super().__init__(daemon=True)
        self.path, self.to_fd = path, to_fd
        self.complete = threading.Event()
        self.start()

    def run(self):
        with open(self.path, "rb", buffering=0) as file:
            while True:
                # Looked at first: what is in the file by then is all there is.
                last = self.complete.is_set()
                while data := file.read(1 << 16):
                    if not self.write(memoryview(data)):
                        return
                if last:
                    return
                self.complete.wait(0.1)

    def write(self, data):
        while data:
            try:
                data = data[os.write(self.to_fd, data):]
            except OSError:
                return False
        return True

    def finish(self):
        """The file has all that it will have. Returns when it is copied."""
        self.complete.set()
        self.join()


class Machine:
    """A machine with these options, which is a context: leaving it ends the machine and removes its folder.

    'made' says where its parts are, 'files' are the script and the files beside it; there are none for a login.
    """

    def __init__(self, made, options, files=()):
        self.made, self.options, self.files = made, options, files
        self.qemu = None
        self.copiers = []
        self.keep_folder = False

    def __enter__(self):
        runs = door.CACHE / "runs"
        runs.mkdir(exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=datetime.datetime.now().strftime("%Y%m%d-%H%M%S-"), dir=runs))
        try:
            door.call("image", self.folder, self.made.source, self.made.kernel, self.made.run_tree, self.made.overlay,
                      *self.options.add, "--", *self.options.enable, "--", *self.files)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        if self.keep_folder:
            (self.folder / "initrd").unlink(missing_ok=True)
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *more):
        """QEMU's command line. It is a program of another Debian, so it gets that one's loader, libraries and data."""
        usr = self.made.qemu / "usr"
        processor, clock = processor_options()
        line = ["setpriv", "--pdeathsig", "KILL",
                usr / "lib64/ld-linux-x86-64.so.2", "--library-path", usr / "lib/x86_64-linux-gnu",
                usr / "bin/qemu-system-x86_64", "-L", usr / "share/qemu", "-L", usr / "share/seabios",
                "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", *processor, "-smp", "2",
                "-m", self.options.memory, "-kernel", self.made.kernel / "vmlinuz", "-initrd", self.folder / "initrd",
                "-append", f"console=ttyS0 panic=-1 quiet systemd.firstboot=off {clock} {self.options.append}",
                "-device", "virtio-serial-pci"]
        for port in PORTS:
            line += ["-chardev", f"file,id={port},path={self.folder / port}",
                     "-device", f"virtserialport,chardev={port},name=testbed.{port}"]
        return [str(word) for word in (*line, *more)]

    def log_in(self):
        """Connects the machine's console with our terminal until the machine is off. Returns QEMU's exit status."""
        # Stopped by stop(), should we be told to end.
        self.qemu = subprocess.Popen(self.command("-serial", "mon:stdio"))
        return self.qemu.wait()

    def run(self):
        """Runs the script; its exit status. Where it has none, raises Failure with the reason and keeps the folder."""
        self.keep_folder = True
        for n in range(1, N_TRIES + 1):
            self.start()
            try:
                status, *sizes = self.wait_for_script()
                self.wait_for_output(*sizes)
                break
            except WentDown as down:
                # An emulated processor loses a race with the kernel's patching of its own code now and then. There is
                # no other try where a module of ours was loaded: it may be its fault.
                if down.began or n == N_TRIES or b"Tainted:" in self.console():
                    raise self.failure(down) from None
                tell_progress(f"the machine did not come up, trying again: {down}")
                (self.folder / f"console.{n}.log").write_bytes(self.console())
                self.finish()
            except Failure as failure:
                raise self.failure(failure) from None
        self.finish()
        self.keep_folder = False
        return status

    def start(self):
        for port in PORTS:
            (self.folder / port).write_bytes(b"")
        with open(self.folder / "qemu.log", "wb") as log:
            self.qemu = subprocess.Popen(self.command("-serial", f"file:{self.folder / 'console.log'}"),
                                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.copiers = [Copier(self.folder / "stdout", 1), Copier(self.folder / "stderr", 2)]

    def stop(self):
        if self.qemu is not None:
            self.qemu.kill()
            self.qemu.wait()
            self.qemu = None

    def finish(self):
        """Stops the machine, and waits until all that its script has printed is copied."""
        self.stop()
        for copier in self.copiers:
            copier.finish()
        self.copiers = []

    def failure(self, reason):
        """The reason as the run's own failure. What was printed until now comes before it."""
        self.finish()
        return Failure(f"{reason} (console: {self.folder / 'console.log'})")

    def wait_for_script(self):
        """The script's exit status, and the number of bytes it has printed on standard output and on standard error."""
        boot_timeout = BOOT_TIMEOUT * (4 if self.options.kernel == "debug" else 1)
        started = time.monotonic()
        script_started = None
        while True:
            # Looked at first: what the status port has said by then is all it will ever say.
            gone = self.qemu.poll() is not None
            said = self.said()
            last = said[-1] if said else ""
            if ended := re.fullmatch(r"exit (\d+) (\d+) (\d+)", last):
                return tuple(map(int, ended.groups()))
            if last.startswith("failed "):
                raise Failure(last.removeprefix("failed "))
            if gone:
                raise WentDown(f"the machine went down before the script ended: {self.death()}", bool(said))
            now = time.monotonic()
            if said and script_started is None:
                script_started = now
            if not said and now - started >= boot_timeout:
                raise Failure(f"the machine was not up after {boot_timeout} s")
            if said and now - script_started >= int(self.options.timeout):
                raise Failure(f"the script has not ended after {self.options.timeout} s")
            time.sleep(0.1)

    def wait_for_output(self, *sizes):
        """The bytes were handed over before the status was, but each port has a queue of its own."""
        while True:
            gone = self.qemu.poll() is not None
            if all((self.folder / port).stat().st_size >= size for port, size in zip(("stdout", "stderr"), sizes)):
                return
            if gone:
                raise Failure("output of the script was lost")
            time.sleep(0.05)

    def said(self):
        """The complete lines that the status port has said."""
        return (self.folder / "status").read_text(encoding="utf-8", errors="replace").split("\n")[:-1]

    def console(self):
        try:
            return (self.folder / "console.log").read_bytes()
        except FileNotFoundError:
            return b""

    def death(self):
        """Why QEMU is gone, as far as anything says so."""
        if panic := re.search(rb"Kernel panic - [\x20-\x7e]*", self.console()):
            return panic[0].decode()
        log = (self.folder / "qemu.log").read_text(encoding="utf-8", errors="replace")
        return next(filter(None, log.splitlines()), "nothing is said about why")


def processor_options():
    """QEMU's options for the processor, and what the kernel has to know of it."""
    # /dev/kvm alone promises nothing.
    has_kvm = re.search(r"\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    if has_kvm and os.access("/dev/kvm", os.W_OK):
        return ["-accel", "kvm", "-cpu", "host"], ""
    # On a busy host an emulated timer is late, but neither broken nor unstable, and nothing to measure by.
    khz = door.call("tsc_khz").strip()
    clock = "no_timer_check tsc=reliable" + (f" tsc_early_khz={khz}" if khz else "")
    return ["-accel", "tcg,thread=multi", "-cpu", "max"], clock
