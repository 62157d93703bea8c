# SPDX-License-Identifier: MIT
"""Starts fake-daemon.py for the tests in Python."""
import contextlib
import os
import subprocess
import sys
import tempfile


@contextlib.contextmanager
def fake_daemon(script):
    """Runs the fake daemon in a temporary folder until the block ends. Gives its Popen object and its socket's path.

    The fake daemon's standard input is a pipe whose write end only this process has. The kernel closes that end when
    this process dies, and the fake daemon exits at the end of the file: it never outlives its test.
    """
    with tempfile.TemporaryDirectory() as folder:
        address = os.path.join(folder, "socket")
        with subprocess.Popen([sys.executable, script, address],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as daemon:
            try:
                assert daemon.stdout.readline() == b"ready\n"
                yield daemon, address
            finally:
                daemon.kill()
