# SPDX-License-Identifier: GPL-2.0-only
"""What all suites share: the harness, a varlink client, and ways to look at the machine.

A suite is a file tests/vm/test_NAME.py that runs in the machine as root. Comments at its head say in which machines it
runs, one line a machine: '# testbed: kernel=stock append="cma=64M" build=release,sanitize enable=dmaheapd.socket'. The
word 'times=20' makes twenty machines of one line, 'files=NAME,…' puts files beside the script, and a line '# testbed:
long' keeps the suite out of a 'test' without names. A line '# testbed+ …' continues the one before it.

The testbed puts the suites and the modules of tests/vm/lib into every machine, where Python finds them by name. A suite
ends with vmtest.main(), which prints one line for each test and, last, how many tests were run."""

import contextlib
import fcntl
import grp
import json
import mmap
import os
import pickle
import pwd
import re
import socket
import struct
import subprocess
import sys
import time
import traceback
import unittest

INTERFACE = "io.dmaheapd.Allocator"
SOCKET = "/run/dmaheapd/" + INTERFACE
SERVICE = "dmaheapd.service"
FDS_MAX = 253
MIB = 1 << 20


# Waiting

def wait_until(condition, timeout=10, what=None):
    """Calls condition() until its result is true, and returns that. Fails after 'timeout' seconds."""
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition.__name__}")
        time.sleep(0.02)
    return result


# The daemon's interface

class Reply:
    """A varlink reply. 'error' is None or the error's name, of which errors of our own interface have only the last
    part."""

    def __init__(self, message, fds):
        self.parameters = message.get("parameters") or {}
        self.continues = message.get("continues", False)
        self.error = message.get("error")
        if self.error:
            self.error = self.error.removeprefix(INTERFACE + ".")
        self.fds = fds

    def __getitem__(self, name):
        return self.parameters[name]

    def __repr__(self):
        return f"Reply(error={self.error}, parameters={self.parameters}, fds={self.fds})"


class ConnectionClosed(Exception):
    """The other side has closed the connection."""


class Varlink:
    """A connection to a varlink service. The caller closes the file descriptors of replies (close_fds())."""

    def __init__(self, path=SOCKET, timeout=60):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.received = bytearray()
        self.fds = []
        try:
            self.socket.connect(path)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()
        close_fds(self.fds)
        self.fds = []

    def send(self, method, parameters=None, **flags):
        """Sends a call. The flags are 'more=True' and 'oneway=True'."""
        if "." not in method:
            method = f"{INTERFACE}.{method}"
        self.send_raw(json.dumps({"method": method, "parameters": parameters or {}, **flags}).encode() + b"\0")

    def send_raw(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ConnectionClosed from error

    def receive(self):
        """The next reply, with the file descriptors that came with it."""
        while b"\0" not in self.received:
            try:
                data, fds, flags, _ = socket.recv_fds(self.socket, 1 << 16, FDS_MAX, socket.MSG_CMSG_CLOEXEC)
            except ConnectionResetError as error:
                raise ConnectionClosed from error
            self.fds += fds
            if flags & socket.MSG_CTRUNC:
                raise AssertionError("file descriptors were cut off")
            if not data:
                raise ConnectionClosed
            self.received += data
        message, _, rest = bytes(self.received).partition(b"\0")
        self.received = bytearray(rest)
        fds, self.fds = self.fds, []
        return Reply(json.loads(message), fds)

    def call(self, method, parameters=None):
        self.send(method, parameters)
        return self.receive()


def call(method, parameters=None, **keywords):
    """One call over a connection of its own."""
    with Varlink() as connection:
        return connection.call(method, (parameters or {}) | keywords)


def allocate(**parameters):
    """One Allocate over a connection of its own."""
    return call("Allocate", parameters)


def close_fds(fds):
    for fd in fds:
        os.close(fd)


# Other accounts and other units

class Child:
    """A function that runs in a process of its own, as 'user' if one is named."""

    def __init__(self, function, *arguments, user=None):
        read_fd, write_fd = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(read_fd)
                if user is not None:
                    become(user)
                result = (True, function(*arguments))
            except BaseException as error:  # pylint: disable=broad-except
                result = (False, (type(error).__name__, str(error), traceback.format_exc(), error))
            with os.fdopen(write_fd, "wb") as file:
                file.write(pickled(result))
            os._exit(0)
        os.close(write_fd)
        self.read_fd = read_fd

    def result(self):
        """Waits until the process ends. Returns what the function returned, or raises what it raised."""
        with os.fdopen(self.read_fd, "rb") as file:
            data = file.read()
        os.waitpid(self.pid, 0)
        if not data:
            raise AssertionError("the child died")
        succeeded, value = pickle.loads(data)
        if succeeded:
            return value
        name, text, trace, error = value
        raise error or AssertionError(f"{name}: {text}\n{trace}")

    def kill(self, signal=9):
        os.kill(self.pid, signal)


def pickled(result):
    try:
        return pickle.dumps(result)
    except Exception:  # an exception that cannot be pickled
        return pickle.dumps((result[0], (*result[1][:3], None)))


def become(user):
    entry = pwd.getpwnam(user)
    os.initgroups(user, entry.pw_gid)
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    os.environ.update(HOME=entry.pw_dir, USER=user, LOGNAME=user)


def as_user(user, function, *arguments):
    """What function(*arguments) returns in a process of that user. It cannot return file descriptors."""
    return Child(function, *arguments, user=user).result()


def run(*command, check=True, **options):
    """Runs a command. Returns its standard output, or fails with its output and standard error.

    With check=False, returns the CompletedProcess, whatever its status."""
    done = subprocess.run(command, text=True, capture_output=True, check=False, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout if check else done


def run_in_unit(unit, *command, check=True, user=None, **properties):
    """Runs a command as a service of that name, with properties such as MemoryMax="64M", and waits for its end."""
    return run(*unit_command(unit, user, properties), "--wait", "--pipe", "--", *command, check=check)


def start_unit(unit, *command, user=None, **properties):
    """Starts a command as a service of that name, which runs until it ends or stop_unit() stops it."""
    run(*unit_command(unit, user, properties), "--", *command)


def unit_command(unit, user, properties):
    line = ["systemd-run", "--quiet", "--collect", "--unit", unit]
    if user is not None:
        line += ["--uid", user]
    return line + [f"--property={name}={value}" for name, value in properties.items()]


def stop_unit(unit):
    systemctl("stop", unit)


# Looking at the machine

def systemctl(*arguments, check=True):
    return run("systemctl", *arguments, check=check)


def unit_property(unit, name):
    return systemctl("show", "--value", "--property", name, unit).strip()


def unit_pid(unit=SERVICE):
    """The main process of a unit; 0 if there is none."""
    return int(unit_property(unit, "MainPID"))


def unit_pids(unit=SERVICE):
    """Every process in the unit's cgroup."""
    path = "/sys/fs/cgroup" + unit_property(unit, "ControlGroup")
    with contextlib.suppress(FileNotFoundError), open(path + "/cgroup.procs", encoding="ascii") as file:
        return [int(line) for line in file]
    return []


def pids_named(name):
    """The processes of that name. The kernel keeps 15 characters of a name."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                if file.read().strip() == name[:15]:
                    found.append(int(pid))
    return found


def journal(unit=SERVICE, lines=None):
    return run("journalctl", "--no-pager", "--output=short-monotonic", "--unit", unit,
               *(["--lines", str(lines)] if lines else []))


def n_fds(pid="self"):
    return len(os.listdir(f"/proc/{pid}/fd"))


def read_file(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def write_file(path, value):
    with open(path, "w", encoding="ascii") as file:
        file.write(str(value))


def keyed(path):
    """The numbers in a file of lines 'KEY NUMBER', such as /proc/vmstat and many files of a control group."""
    return {key: int(value) for key, value in (line.split() for line in read_file(path).splitlines())}


def meminfo(name):
    """The value of a line of /proc/meminfo, in bytes."""
    return int(re.search(rf"(?m)^{name}:\s*(\d+) kB$", read_file("/proc/meminfo"))[1]) << 10


def module_loaded(name):
    with open("/proc/modules", encoding="ascii") as file:
        return any(line.split()[0] == name for line in file)


def fdinfo(fd, pid="self"):
    """The fields of /proc/PID/fdinfo/FD; a dma-buf's include 'size', 'count' and 'exp_name'."""
    with open(f"/proc/{pid}/fdinfo/{fd}", encoding="utf-8", errors="replace") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def live_buffers():
    """The inode numbers of all dma-bufs in the machine."""
    if not os.path.ismount("/sys/kernel/debug"):
        run("mount", "-t", "debugfs", "debugfs", "/sys/kernel/debug")
    with open("/sys/kernel/debug/dma_buf/bufinfo", encoding="utf-8", errors="replace") as file:
        # size, flags, mode, count, exporter, inode
        lines = (re.match(r"\d{8,}\s+[0-9a-f]{8}\s+[0-9a-f]{8}\s+\d{8}\s+\S+\s+(\d{8,})", line) for line in file)
        return {int(match[1]) for match in lines if match}


def map_buffer(fd, size, writable=True):
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    return mmap.mmap(fd, size, mmap.MAP_SHARED, access)


def sync_buffer(fd, end=False, write=True):
    """Begins or ends the CPU's access (DMA_BUF_IOCTL_SYNC)."""
    fcntl.ioctl(fd, 0x40086200, struct.pack("Q", (3 if write else 1) | (4 if end else 0)))


def group_members(name):
    return set(grp.getgrnam(name).gr_mem)


# The harness

class Result(unittest.TestResult):
    """Prints one line for each test as soon as the test has ended. What went wrong goes to standard error."""

    def __init__(self):
        super().__init__()
        self.bad = 0
        self.current_is_bad = False

    def startTest(self, test):
        super().startTest(test)
        self.current_is_bad = False
        self.started = time.monotonic()

    def stopTest(self, test):
        super().stopTest(test)
        self.bad += self.current_is_bad
        print("not ok" if self.current_is_bad else "ok", name_of(test), f"({time.monotonic() - self.started:.1f} s)",
              flush=True)

    def complain(self, test, text):
        self.current_is_bad = True
        print(f"--- {name_of(test)}\n{text}", file=sys.stderr, flush=True)

    def addError(self, test, err):
        super().addError(test, err)
        if not isinstance(test, unittest.TestCase):  # setUpClass and the like: no test was started
            self.bad += 1
            print("not ok", name_of(test), flush=True)
        self.complain(test, self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.complain(test, self.failures[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.complain(subtest, self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.complain(test, f"a test that is skipped tests nothing: {reason}")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.complain(test, "unexpected success")


def name_of(test):
    return test.id().removeprefix("__main__.")


def tell_machine_state():
    """Prints the end of the daemon's journal and of the kernel's log, which help to find the reason of a failure."""
    for command in (["journalctl", "--no-pager", "-o", "short-monotonic", "-n", "60", "-u", "dmaheapd*"],
                    ["journalctl", "--no-pager", "-o", "short-monotonic", "-n", "15", "-k"]):
        print("---", *command, file=sys.stderr)
        print(subprocess.run(command, text=True, capture_output=True, check=False).stdout, file=sys.stderr, flush=True)


def test_classes(module):
    """The test classes that a module defines, in the order in which they stand there. Classes that it imports are not
    its own."""
    return [item for item in vars(module).values()
            if isinstance(item, type) and issubclass(item, unittest.TestCase) and item.__module__ == module.__name__]


def main(*first):
    """Runs the tests of 'first', which are suites or test classes, and then the others of the script that calls it.

    Names on the command line choose among the tests of the script."""
    loader = unittest.TestLoader()
    script = sys.modules["__main__"]
    if sys.argv[1:]:
        suite = loader.loadTestsFromNames(sys.argv[1:], script)
    else:
        classes = []
        for item in (*first, script):
            classes += [item] if isinstance(item, type) else test_classes(item)
        suite = unittest.TestSuite(map(loader.loadTestsFromTestCase, dict.fromkeys(classes)))
    print(f"1..{suite.countTestCases()}", flush=True)
    result = Result()
    suite.run(result)
    if result.bad:
        tell_machine_state()
    print("ran", result.testsRun, flush=True)
    sys.exit(1 if result.bad or not result.testsRun else 0)
