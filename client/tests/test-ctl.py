#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""dmaheapctl against a fake daemon: test-ctl.py DMAHEAPCTL FAKE-DAEMON MAN-FOLDER

Every error of the interface, and every failure on the way, has its message and exit status; the manual pages name
them."""
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

# top sends this when it ends: wrap lines, show the cursor, go back to the normal screen.
LEAVE = b"\033[?7h\033[?25h\033[?1049l"

# The errors of the interface, and the part of the message that comes from the parameters.
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
    """Runs dmaheapctl, which exits with this status."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status, (arguments, done)
    return done


def test_errors(man_folder):
    """Each error gives a status and a message that begins with its name; the manual pages describe it."""
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
    """--json= prints the reply's parameters unchanged, on one line or on several."""
    for verb in ("list", "usage", "clients", "buffers", "info"):
        short, pretty = run(verb, "--json=short").stdout, run(verb, "--json=pretty").stdout
        assert short.count("\n") == 1 and pretty.count("\n") > 3, verb
        assert json.loads(short) == json.loads(pretty)
    # The reply is printed unchanged: the order of fields, and fields that dmaheapctl does not know.
    assert list(json.loads(run("list", "--json=short").stdout)["heaps"][3]) == [
        "name", "state", "roles", "accounting", "used", "extra"]


def test_tables():
    """Each command without --json= prints a table for people."""
    lines = run("list").stdout.splitlines()
    assert lines[0].split() == ["HEAP", "STATE", "ROLES", "SIZE", "USED", "CHARGED", "BY", "REGION", "MODULE"]
    assert lines[2].split() == ["default_cma_region", "loadable", "contiguous,x", "64M", "0B", "daemon", "reserved",
                                "cma_heap"]
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


def test_counts():
    """--count= is a number from 1 on; 0, which the library would take for 1, is a wrong command line."""
    assert len(json.loads(run("allocate", "--json=short", "-n", "253", "1").stdout)["buffers"]) == 253
    for text in ("0", "-1", "1x", ""):
        run("allocate", "--count=" + text, "1M", status=2)


def test_fds():
    """The command's fds from 3 on are the buffers in the order of the reply, and it has no other fds."""
    script = ("import os, sys; ids = [int.from_bytes(os.pread(fd, 8, 0), sys.byteorder) for fd in (3, 4, 5)];"
              "print(ids, sorted(map(int, os.listdir('/proc/self/fd')))[:-1])")
    for heap in ("system", "reversed"):
        reply, said = run("allocate", "--json=short", "--heap=" + heap, "--count=3", "1M", "--", sys.executable, "-c",
                          script).stdout.splitlines()
        assert said == f"{[b['id'] for b in json.loads(reply)['buffers']]} [0, 1, 2, 3, 4, 5]", (heap, said)


def test_command_status():
    """The exit status is the command's, or that of a shell whose command cannot be run."""
    for command, status in ((["sh", "-c", "exit 7"], 7), (["/nonexistent"], 127), (["/dev/null"], 126)):
        run("allocate", "4K", "--", *command, status=status)


def test_unwritable_output():
    """Output that cannot be written is an error."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run([program, "list"], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and b"cannot write" in done.stderr, done


def test_escape_sequences():
    """Control characters of names, which other users choose, do not reach the terminal."""
    said = run("buffers", "--unit=escape.service").stdout
    assert "/?[31mred" in said and "\x1b" not in said, said


def test_sizes():
    """SIZE takes units of 1024; other text is a wrong command line."""
    for text, size in (("1", 4096), ("4096", 4096), ("4097", 8192), ("5K", 8192), ("1M", 1 << 20), ("3MiB", 3 << 20)):
        assert json.loads(run("allocate", "--json=short", text).stdout)["buffers"][0]["size"] == size, text
    for text in ("", "-1", "1.5M", "1MM", "M", "1 M", "0x10", "1KB", "99999999999999999999", "18014398509481984K"):
        run("allocate", "--", text, status=2)


def test_monitor():
    """monitor prints a line for each change, and ends with an error when the daemon ends the stream."""
    done = run("monitor", status=1)
    assert re.search(r"(?m)^\d\d:\d\d:\d\d system: \d+K in use, was \d+K$", done.stdout), done
    done = run("monitor", "--json=short", status=1)
    assert done.stdout.count("\n") == 3 and "went away" in done.stderr


def test_top():
    """Without a terminal, top prints as many views as it is told; a delay below 100 ms is a wrong command line."""
    assert run("top", "--iterations=2", "--delay=100ms").stdout.count("CLIENT") == 2
    run("top", "--delay=99ms", status=2)


def has_terminals():
    """Whether a pseudoterminal can be opened; not in every container in which packages are built."""
    try:
        for fd in pty.openpty():
            os.close(fd)
    except OSError:
        return False
    return True


def test_top_on_terminal():
    """On a terminal, top redraws in colour until q or Ctrl-C, and restores the terminal."""
    for key in (b"q", b"\x03"):
        status, said = top_on_terminal(lambda said: said.count(b"\033[H") >= 2, lambda fd, key=key: os.write(fd, key))
        assert status == 0 and said.endswith(LEAVE) and b"\033[32mready\033[0m" in said, said


def top_on_terminal(ready, act):
    """Runs top on a terminal until ready(output), then calls act(fd of it). Returns the exit status and all output."""
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
    except OSError:  # EIO: the other end of the terminal is closed
        pass
    os.close(fd)
    assert said.startswith(b"\033[?1049h"), said
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def test_top_without_answer(daemon):
    """Ctrl-C ends top while the daemon hangs. If the daemon dies, the message comes after the screen was restored."""
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
    test_counts()
    test_fds()
    test_command_status()
    test_unwritable_output()
    test_escape_sequences()
    test_sizes()
    test_monitor()
    test_top()
    if has_terminals():
        test_top_on_terminal()
        test_top_without_answer(fake_process)
