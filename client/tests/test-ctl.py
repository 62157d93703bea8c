#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dmaheapctl against a fake daemon: test-ctl.py DMAHEAPCTL FAKE-DAEMON MAN-FOLDER

Every error of the interface reaches the command's words and status, and the manual page; so do failures on the way."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

from fakedaemon import fake_daemon

PREFIX = "io.dmaheapd.Allocator."
SERVICE = "org.varlink.service."

# How top leaves a terminal: lines that wrap, a cursor, and what was there before.
LEAVE = b"\033[?7h\033[?25h\033[?1049l"

# An error, and what of its parameters has to be said.
ERRORS = {
    PREFIX + "NoSuchHeap": "no heap named 'error-NoSuchHeap'",
    PREFIX + "HeapUnavailable": "no module provides it",
    PREFIX + "QuotaExceeded": "the cgroup /user.slice: 1G allowed, 512M in use, 1.5G more asked for",
    PREFIX + "OutOfMemory": "error-OutOfMemory",
    PREFIX + "OutOfResources": "processes",
    PREFIX + "TimedOut": "error-TimedOut",
    SERVICE + "InvalidParameter": "'size'",
    SERVICE + "PermissionDenied": "not permitted",
}


def run(*arguments, status=0):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status, (arguments, done)
    return done


def test_errors(man_folder):
    with open(f"{man_folder}/dmaheapctl.1.scd", encoding="utf-8") as file:
        manual = file.read()
    with open(f"{man_folder}/io.dmaheapd.Allocator.7.scd", encoding="utf-8") as file:
        interface = file.read()
    for name, words in ERRORS.items():
        heap = "error-" + name.removeprefix(PREFIX)
        done = run("allocate", "--heap=" + heap, "1M", status=1)
        assert done.stdout == "" and done.stderr.startswith(f"dmaheapctl: {name}: ") and words in done.stderr, done
        assert f"*{name.removeprefix(PREFIX)}*" in manual and f"*{name.removeprefix(PREFIX)}*" in interface, name
    assert "com.example.Weird" in run("allocate", "--heap=weird", "1M", status=1).stderr
    assert "went away" in run("allocate", "--heap=vanish", "1M", status=1).stderr
    assert "makes no sense" in run("allocate", "--heap=short", "1M", status=1).stderr
    assert "in time" in run("--timeout=100ms", "allocate", "--heap=hang", "1M", status=1).stderr
    assert "cannot connect" in run("--address=/nonexistent", "list", status=3).stderr


def test_json():
    for verb in ("list", "usage", "clients", "buffers", "info"):
        short, pretty = run(verb, "--json=short").stdout, run(verb, "--json=pretty").stdout
        assert short.count("\n") == 1 and pretty.count("\n") > 3, verb
        assert json.loads(short) == json.loads(pretty)
    # Unchanged: fields in their order, those that are null and those that nobody knows too.
    assert list(json.loads(run("list", "--json=short").stdout)["heaps"][3]) == [
        "name", "state", "roles", "accounting", "used", "extra"]


def test_tables():
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["HEAP", "STATE", "ROLES", "SIZE", "USED", "CHARGED", "BY", "REGION", "MODULE"]
    assert lines[2].split() == ["default_cma_region", "loadable", "contiguous,x", "64M", "0B", "daemon", "reserved", "cma_heap"]
    assert lines[-1] == "bad: No such device"
    assert len({line.index(state) for line, state in zip(lines[1:4], ("ready", "loadable", "failed"))}) == 1
    assert "67108864" in run("list", "--bytes").stdout
    assert re.search(r"(?m)^this client +1M +1G +3 +-$", run("usage").stdout)
    assert re.search(r"(?m)^/a +1000 +1001 +2 +1M ", run("clients").stdout)
    assert "1 buffer, 4K in all." in run("buffers").stdout
    assert run("info").stdout == "Daemon:  fake (buffers counted by hand)\nVersion: 7\n"
    assert "0 buffers" in run("buffers", "--unit=b.service").stdout


def test_read_only():
    """The command's buffers are opened for reading only with --read-only, and for both without it."""
    script = "import fcntl, os; print([fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE for fd in (3, 4)])"
    for options, mode in ((["--read-only"], os.O_RDONLY), ([], os.O_RDWR)):
        said = run("allocate", *options, "--count=2", "1M", "--", sys.executable, "-c", script).stdout
        assert said == f"[{mode}, {mode}]\n", (options, said)


def test_sizes():
    for text, size in (("1", 4096), ("4096", 4096), ("4097", 8192), ("5K", 8192), ("1M", 1 << 20), ("3MiB", 3 << 20)):
        assert json.loads(run("allocate", "--json=short", text).stdout)["buffers"][0]["size"] == size, text
    for text in ("", "-1", "1.5M", "1MM", "M", "1 M", "0x10", "1KB", "99999999999999999999", "18014398509481984K"):
        run("allocate", "--", text, status=2)


def test_monitor():
    done = run("monitor", status=1)
    assert re.search(r"(?m)^\d\d:\d\d:\d\d system: \d+K in use, was \d+K$", done.stdout), done
    done = run("monitor", "--json=short", status=1)
    assert done.stdout.count("\n") == 3 and "went away" in done.stderr


def test_top():
    assert run("top", "--iterations=2", "--delay=100ms").stdout.count("CLIENT") == 2
    run("top", "--delay=99ms", status=2)


def has_terminals():
    """Not so in every container that packages are built in."""
    try:
        for fd in pty.openpty():
            os.close(fd)
    except OSError:
        return False
    return True


def test_top_on_terminal():
    # On a terminal it draws over itself, in colour, until somebody presses q or Ctrl-C; and leaves the terminal as it was.
    for key in (b"q", b"\x03"):
        status, said = top_on_terminal(lambda said: said.count(b"\033[H") >= 2, lambda fd, key=key: os.write(fd, key))
        assert status == 0 and said.endswith(LEAVE) and b"\033[32mready\033[0m" in said, said


def top_on_terminal(ready, act):
    """Runs top on a terminal until it has said enough, and does something to it. Returns its status and all it said."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(program, [program, "top", "--delay=100ms"])
    said = b""
    while not ready(said):
        assert select.select([fd], [], [], 30)[0]
        said += os.read(fd, 65536)
    act(fd)
    try:
        while more := os.read(fd, 65536):
            said += more
    except OSError:  # how a terminal ends
        pass
    os.close(fd)
    assert said.startswith(b"\033[?1049h"), said
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def test_top_without_answer(daemon):
    """A daemon that hangs does not keep Ctrl-C from working; what is said of one that dies can be read."""
    shown = lambda said: b"CLIENT" in said  # pylint: disable=unnecessary-lambda-assignment

    def interrupt(fd):
        daemon.send_signal(signal.SIGSTOP)
        os.write(fd, b"\x03")
    before = time.monotonic()
    status, said = top_on_terminal(shown, interrupt)
    assert status == 0 and said.endswith(LEAVE) and time.monotonic() - before < 20, said
    daemon.send_signal(signal.SIGCONT)

    status, said = top_on_terminal(shown, lambda _: daemon.kill())
    message = said.rpartition(LEAVE)[2]
    assert status in (1, 3) and message.startswith(b"dmaheapctl: "), said


program, fake, man = sys.argv[1:]
with fake_daemon(fake) as (fake_process, fake_address):
    os.environ["DMAHEAP_ADDRESS"] = fake_address
    test_errors(man)
    test_json()
    test_tables()
    test_read_only()
    test_sizes()
    test_monitor()
    test_top()
    if has_terminals():
        test_top_on_terminal()
        test_top_without_answer(fake_process)
