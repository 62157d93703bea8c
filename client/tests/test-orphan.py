#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A test that is aborted leaves no fake daemon behind: test-orphan.py FAKE-DAEMON TEST-ORPHAN

Kills a test in C (test-orphan.c) and one in Python (this file with 'inside') after they started the fake daemon, and
waits for the fake daemon to exit."""
import contextlib
import os
import resource
import select
import shutil
import signal
import subprocess
import sys

from fakedaemon import fake_daemon

WAIT_MSEC = 10000


def check_exits(command, number):
    """The fake daemon that command started exits after command was killed with that signal."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as test:
        pid, address = int(test.stdout.readline()), test.stdout.readline().rstrip()
        pidfd = os.pidfd_open(pid)
        test.send_signal(number)
        assert test.wait() == -number, test.returncode
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    exited = bool(poll.poll(WAIT_MSEC))
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)
    shutil.rmtree(os.path.dirname(address))  # only the fake daemon's exit is promised
    assert exited, f"{command} died of signal {number}, and its fake daemon went on"


def main():
    if sys.argv[1] == "inside":
        with fake_daemon(sys.argv[2]) as (daemon, address):
            print(daemon.pid, address, sep="\n", flush=True)
            signal.pause()

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    fake, program = sys.argv[1:]
    for command in ([program, fake], [sys.executable, __file__, "inside", fake]):
        for number in (signal.SIGABRT, signal.SIGKILL):
            check_exits(command, number)


main()
