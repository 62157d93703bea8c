# SPDX-License-Identifier: GPL-2.0-only
"""Programs that the testbed runs beside itself. None of them outlives the run, whichever way the run ends."""

import contextlib
import os
import signal
import subprocess

# A program that was told to end has so many seconds for it.
END_TIMEOUT = 20


class Process(subprocess.Popen):
    """A program in a session of its own, so that it can be ended with all that it has started.

    It is told to end (SIGTERM) when we die, even by SIGKILL. A context that is left by an exception ends it.
    """

    def __init__(self, *command, stdin=subprocess.DEVNULL, **options):
        super().__init__(["setpriv", "--pdeathsig", "TERM", *command], stdin=stdin, start_new_session=True, **options)

    def end(self):
        """Ends it and its session. Does nothing when it has ended before."""
        if self.poll() is not None:
            return
        self.signal_all(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(END_TIMEOUT)
        self.signal_all(signal.SIGKILL)
        self.wait()

    def signal_all(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def __exit__(self, kind, value, trace):
        if kind is not None:
            self.end()
        super().__exit__(kind, value, trace)


def run(*command, **options):
    """Runs a program to its end. Returns its exit status, which is negative for a signal."""
    with Process(*command, **options) as process:
        return process.wait()
