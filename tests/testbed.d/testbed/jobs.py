# SPDX-License-Identifier: GPL-2.0-only
"""Machines that run suites, some at once. Each is a call of 'exec' in a process of its own."""

import contextlib
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import door
from failure import EXIT_TESTBED, tell_progress
from process import Process


def machines_at_once():
    """How many machines run at once, each of which has two processors to emulate."""
    return int(os.environ.get("TESTBED_MACHINES") or 2)


@dataclass(frozen=True)
class Job:
    """One machine for one suite."""

    label: str
    kernel: str
    build: str
    arguments: tuple    # the rest of the arguments of 'exec': options, script and files

    def command(self):
        return [sys.executable, "-IB", str(Path(__file__).parent), "exec", "--kernel", self.kernel,
                "--build", self.build, *self.arguments]


class Run:
    """A job that runs: its output goes to BASE.out and BASE.err, and it may get a second try."""

    def __init__(self, job, base, source=None):
        self.job, self.source = job, source
        self.stdout, self.stderr = base.with_suffix(".out"), base.with_suffix(".err")
        self.begun = time.monotonic()
        self.is_first_try = True
        self.start()

    def start(self):
        environment = os.environ | ({"TESTBED_SOURCE": str(self.source)} if self.source else {})
        with open(self.stdout, "wb") as out, open(self.stderr, "wb") as err:
            self.process = Process(*self.job.command(), stdout=out, stderr=err, env=environment)

    def has_ended(self):
        """Whether it is over. A machine that the emulator has failed runs again, once."""
        if self.process.poll() is None:
            return False
        self.status = self.process.returncode
        if self.status == EXIT_TESTBED and self.is_first_try and emulator_failed(self.stderr):
            tell_progress(f"the emulator failed, running again: {self.job.label}")
            self.is_first_try = False
            self.start()
            return False
        self.seconds = time.monotonic() - self.begun
        return True

    def end(self):
        self.process.end()


def emulator_failed(stderr):
    """Whether a machine, whose standard error is in that file, ended by no fault of what runs in it.

    Either the emulator got its processor wrong (an int3 that had just been patched away), or the host did not let it
    run for half a minute and it never came up. One that did come up and stood still may have one of our modules to
    thank for it."""
    said = Path(stderr).read_text(encoding="utf-8", errors="replace")
    consoles = re.findall(r"\(console: (.*)\)$", said, re.MULTILINE)
    console = b""
    if consoles:
        with contextlib.suppress(OSError):
            console = Path(consoles[-1]).read_bytes()
    if b"Oops: int3" in console:
        return True
    return ("the machine was not up after" in said
            and re.search(rb"watchdog: BUG: soft lockup|rcu_preempt kthread starved", console) is not None)


def make_ready(jobs):
    """Makes what the machines of these jobs need, one after the other, where progress can be seen."""
    for kernel, build in sorted({(job.kernel, job.build) for job in jobs}):
        door.make(kernel, build)


def run(jobs, folder, at_once):
    """Runs the jobs, so many at once, with their output in 'folder'; yields the Run of each when it has ended.

    Whoever stops listening, by an exception too, ends the machines that run."""
    waiting, running, n = list(jobs), [], 0
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                n += 1
                running.append(Run(waiting.pop(0), Path(folder) / str(n)))
            ended = [one for one in running if one.has_ended()]
            running = [one for one in running if one not in ended]
            yield from ended
            if not ended:
                time.sleep(0.1)
    finally:
        for one in running:
            one.end()
