#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M dma_heap.mem_accounting=0" files=wire-session.txt timeout=900
"""A recorded session: every method and every error of the interface, compared byte for byte with wire-session.txt.

Each test sends a fixed script of raw calls. Its section of the recording has each call and each reply as they were.
Three kinds of values differ between two runs, and only these become words in angle brackets: the id of a buffer, after
a check that it is the inode number of the descriptor that came with it; allocatedUSec, after a check that it lies
between the beginning of the test and now; and the values that a test names at that step.

'test_wire.py --record' prints a new recording to standard output instead of comparing, and what the tests say to
standard error. It must run in a machine with the options of the line '# testbed:' above. record-wire.sh does that:

    tests/testbed exec --append "cma=64M dma_heap.mem_accounting=0" --timeout 900 tests/vm/record-wire.sh >new-session
    mv new-session tests/vm/wire-session.txt && git diff tests/vm/wire-session.txt

Every difference that this shows is a change of what clients see."""

import contextlib
import fcntl
import json
import os
import re
import resource
import socket
import stat
import struct
import sys
import termios
import time

import vmtest
from accountingtest import CGROUPS, CMA, MIB, PAGE, AccountingTest, close_if_same, remove_cgroup
from daemontest import DEADLINE, configure, install_test_modules, modprobe_conf, module_absent

RECORDING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "wire-session.txt")
SERVICE_INTERFACE = "org.varlink.service"
LEDGER_DIRECTORY = "/run/dmaheapd-ledger"
METHODS = ("Allocate", "ListHeaps", "GetUsage", "ListClients", "ListBuffers")
RAM = vmtest.meminfo("MemTotal")
DEFAULT_LIMITS = [(f'"bytesMax":{RAM // 4},', '"bytesMax":<a quarter of memory>,'),
                  (f'"bytesMax":{RAM // 2},', '"bytesMax":<half of memory>,')]

recording = None  # the sections of a new one


def recorded(name):
    """The lines of a section of the recording."""
    with open(RECORDING, encoding="utf-8") as file:
        sections = re.split(r"^== (.*)\n", file.read(), flags=re.MULTILINE)
    return dict(zip(sections[1::2], sections[2::2])).get(name, "")


def folded(text):
    """Breaks a JSON text after each line break in its strings; the lines that continue it are indented."""
    return text.replace(r"\n", "\\n\n    ")


def call_text(method, parameters=None, **flags):
    if "." not in method:
        method = f"{vmtest.INTERFACE}.{method}"
    return json.dumps({"method": method, "parameters": parameters or {}, **flags}, separators=(",", ":"))


def unread(sock):
    """How many bytes the peer has not read yet of those that were sent."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]


class WireTest(AccountingTest):
    """A section of the recording, with a daemon of its own. Each line begins with the name of a client."""

    maxDiff = None

    def setUp(self):
        configure(self.CONFIG)
        super().setUp()
        self.began = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        self.lines, self.connections, self.ids = [], {}, {}

    def tearDown(self):
        """Compares the section with the recording."""
        text = "\n".join(self.lines) + "\n"
        name = self._testMethodName
        if recording is None:
            self.assertEqual(text, recorded(name), name)
        else:
            recording.append(f"== {name}\n{text}")
        super().tearDown()

    # Clients

    def connect(self, name, user="user1", cgroup=None):
        """A client of that name, in a unit of that name if it has no cgroup; its connection."""
        if cgroup is None:
            cgroup = f"/test-{name}.scope"
            if not os.path.isdir(CGROUPS + cgroup):
                self.cgroup(cgroup)
        self.connections[name] = self.client(cgroup, user)
        return self.connections[name]

    # Calls and replies

    def send(self, name, text):
        self.lines.append(f"{name}> {text}")
        self.connections[name].send_raw(text.encode() + b"\0")

    def receive_raw(self, name):
        """The next message as it is, and its descriptors."""
        connection = self.connections[name]
        while b"\0" not in connection.received:
            data, fds, flags, _ = socket.recv_fds(connection.socket, 1 << 16, vmtest.FDS_MAX)
            for fd in fds:
                os.set_inheritable(fd, False)
                self.addCleanup(close_if_same, fd, os.fstat(fd).st_ino)
            self.assertFalse(flags & socket.MSG_CTRUNC)
            connection.fds += fds
            if not data:
                raise vmtest.ConnectionClosed
            connection.received += data
        message, _, rest = bytes(connection.received).partition(b"\0")
        connection.received = bytearray(rest)
        fds, connection.fds = connection.fds, []
        return message.decode(), fds

    def receive(self, name, vary=(), replace=()):
        """Keeps the next reply, in which the numbers of the fields 'vary' and the texts of 'replace' are replaced."""
        try:
            text, fds = self.receive_raw(name)
        except (vmtest.ConnectionClosed, ConnectionResetError):
            self.lines.append(f"{name}< (closed)")
            return []
        self.keep(name, text, fds, vary, replace)
        return fds

    def keep(self, name, text, fds, vary=(), replace=()):
        told = [buffer["id"] for buffer in (json.loads(text).get("parameters") or {}).get("buffers", ())] if fds else []
        self.assertEqual(told, [os.fstat(fd).st_ino for fd in fds])
        for inode in told:
            self.ids[inode] = len(self.ids) + 1
        text = re.sub(r'"id":(\d+)', lambda match: f'"id":<id {self.ids[int(match[1])]}>', text)
        text = re.sub(r'"allocatedUSec":(\d+)', self.checked_time, text)
        for field in vary:
            text, n_found = re.subn(rf'"{field}":\d+', f'"{field}":<{field}>', text)
            self.assertEqual(n_found, 1, text)
        for value, placeholder in replace:
            self.assertIn(value, text)
            text = text.replace(value, placeholder)
        descriptors = f"({len(fds)} descriptors) " if fds else ""
        self.lines.append(folded(f"{name}< {descriptors}{text}"))

    def checked_time(self, match):
        self.assertTrue(self.began <= int(match[1]) <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000, match[1])
        return '"allocatedUSec":<time>'

    def ask(self, name, method, parameters=None, flags=None, **what_varies):
        """A call and its reply. Returns the descriptors."""
        self.send(name, call_text(method, parameters, **(flags or {})))
        return self.receive(name, **what_varies)

    def ask_for(self, name, size=PAGE, **parameters):
        """An Allocate and its reply."""
        what_varies = {key: parameters.pop(key) for key in ("vary", "replace") if key in parameters}
        return self.ask(name, "Allocate", parameters | {"size": size}, **what_varies)


class Heaps(WireTest):
    """These tests come first: the modules that they load stay loaded."""

    @classmethod
    def setUpClass(cls):
        install_test_modules()
        super().setUpClass()

    def test_heaps(self):
        self.connect("camera")
        self.ask("camera", "ListHeaps")
        self.ask_for("camera", heap="failing_test")
        self.ask_for("camera", heap=CMA, size=2 * PAGE)
        self.ask_for("camera", heap="protected,test")
        self.ask("camera", "ListHeaps")

    def test_heaps_with_more(self):
        self.connect("watcher")
        self.connect("camera")
        self.ask("watcher", "ListHeaps", flags={"more": True})
        self.ask_for("camera", heap="reserved")
        # A daemon that has just started may have other news before.
        wanted, heaps = {"region": "reserved", "size": 64 * MIB, "used": PAGE}, []
        while not any(wanted.items() <= heap.items() for heap in heaps):
            text, fds = self.receive_raw("watcher")
            heaps = json.loads(text)["parameters"]["heaps"]
        self.keep("watcher", text, fds)

    def test_heaps_that_cannot_be_had(self):
        self.connect("camera")
        self.ask_for("camera", heap="failing_test")
        with modprobe_conf("alias dma-heap:promised dummy"):
            self.ask_for("camera", heap="promised")
        with modprobe_conf("alias dma-heap:forbidden tun\nblacklist tun"):
            self.ask_for("camera", heap="forbidden")
        with modprobe_conf("alias dma-heap:commanded tun\ninstall tun /bin/false"):
            self.ask_for("camera", heap="commanded")
        with module_absent("slow_heap"), modprobe_conf("alias dma-heap:slow_test slow_heap"):
            self.ask_for("camera", heap="slow_test", replace=[(os.uname().release, "<release>")])
        with node_away("reserved"):
            self.ask_for("camera", heap="reserved")
            os.mknod("/dev/dma_heap/reserved", stat.S_IFCHR | 0o600, os.makedev(1, 3))  # /dev/null
            self.ask_for("camera", heap="reserved")
            os.unlink("/dev/dma_heap/reserved")
        self.ask_for("camera", heap="udmabuf", size=MIB * 65)

    def test_past_udmabuf(self):
        """The kernel's limit for one buffer of udmabuf can be read."""
        limit = "/sys/module/udmabuf/parameters/size_limit_mb"
        self.addCleanup(vmtest.write_file, limit, vmtest.read_file(limit).strip())
        vmtest.write_file(limit, 64)
        self.connect("camera")
        self.ask_for("camera", heap="udmabuf", size=64 * MIB + 1)

    def test_out_of_memory(self):
        """The test's heap takes one run of pages for each buffer, and the kernel has none of that length."""
        self.connect("camera")
        self.ask_for("camera", heap="protected,test", size=64 * MIB)
        self.ask_for("camera", role="protected", size=64 * MIB)


@contextlib.contextmanager
def node_away(name):
    os.rename(f"/dev/dma_heap/{name}", "/dev/test-away")
    try:
        yield
    finally:
        os.rename("/dev/test-away", f"/dev/dma_heap/{name}")


class Service(WireTest):
    def test_service(self):
        self.connect("camera")
        version = vmtest.run("/usr/libexec/dmaheapd", "--version").split()[1]
        info = [(f'"version":"{version}"', '"version":"<version>"')]
        self.ask("camera", SERVICE_INTERFACE + ".GetInfo", replace=info)
        self.ask("camera", SERVICE_INTERFACE + ".GetInfo", flags={"more": True}, replace=info)
        self.ask("camera", SERVICE_INTERFACE + ".GetInfo", {"colour": "blue"})
        method = SERVICE_INTERFACE + ".GetInterfaceDescription"
        for parameters in ({}, {"interface": vmtest.INTERFACE}, {"interface": "io.example"}, {"interface": 1},
                           {"interface": vmtest.INTERFACE, "colour": "blue"}):
            self.ask("camera", method, parameters)

    def test_unknown_methods(self):
        self.connect("camera")
        for method in (vmtest.INTERFACE + ".Free", vmtest.INTERFACE + ".Heap", vmtest.INTERFACE + ".NoSuchHeap",
                       vmtest.INTERFACE, vmtest.INTERFACE + ".", "io.example.Allocate", SERVICE_INTERFACE + ".Free"):
            self.ask("camera", method)

    def test_no_calls(self):
        method = vmtest.INTERFACE + ".ListHeaps"
        for text in ("", "{", "null", "1", "[]", '"' + method + '"', "{}", '{"method":1}', '{"parameters":{}}',
                     '{"method":"%s","parameters":[]}' % method, '{"method":"%s","parameters":"size"}' % method,
                     '{"method":"%s"} trailing' % method, '{"method":"%s","more":1}' % method,
                     '{"error":"io.dmaheapd.Allocator.TimedOut"}'):
            self.connect("camera")
            self.send("camera", text)
            self.receive("camera")

    def test_flags(self):
        """A call with 'oneway' has no reply: the next reply is that of the next call."""
        self.connect("camera")
        self.connect("root", "root")
        for method in METHODS:
            self.send("root", call_text(method, {"size": 1} if method == "Allocate" else {}, oneway=True))
            self.ask("root", "ListBuffers")
        self.ask("root", "Allocate", {"size": 0}, {"oneway": True, "more": False})
        self.ask("camera", "Allocate", {"size": 1}, {"more": True})
        self.ask("camera", "GetUsage", {}, {"more": True}, replace=DEFAULT_LIMITS)
        for method in ("ListClients", "ListBuffers"):
            self.ask("camera", method, {}, {"more": True})

    def test_many_calls_at_once(self):
        self.connect("camera")
        texts = [call_text("Allocate", {"size": 0}), call_text("ListClients"),
                 call_text("Allocate", {"size": PAGE, "role": "none"}), call_text("Free")]
        self.send("camera", "\0".join(texts))
        for _ in texts:
            self.receive("camera")
        self.lines[0] = self.lines[0].replace("\0", " (and) ")


class Parameters(WireTest):
    def test_parameters_of_allocate(self):
        self.connect("camera")
        wrong = [("size", (0, -1, (1 << 47) + 1, 1 << 63, (1 << 64) - 1, 1 << 64, 1.5, "4096", "", True, None, [1],
                           {})),
                 ("count", (0, -1, 254, 1 << 32, (1 << 32) + 1, 1 << 64, 1.5, "1", True, [1], {})),
                 ("label", ("", "x" * 32, "a\nb", "\x7f", "\u00e4", 1, True, ["x"], {})),
                 ("access", ("", "writeOnly", "READONLY", "readOnly ", 1, True, ["readOnly"], {})),
                 ("heap", ("", ".hidden", "a/b", "x" * 65, "a b", "system\x00"))]
        for parameter, values in wrong:
            for value in values:
                self.ask("camera", "Allocate", {"size": PAGE} | {parameter: value})

    def test_more_parameters_of_allocate(self):
        self.connect("camera")
        wrong = [("heap", (1, True, ["system"], {})),
                 ("role", ("", ".hidden", "a/b", "x" * 65, "a b", 1, True, ["system"], {})),
                 ("Size", (PAGE,)), ("colour", ("blue",))]
        for parameter, values in wrong:
            for value in values:
                self.ask("camera", "Allocate", {"size": PAGE} | {parameter: value})
        self.ask("camera", "Allocate", {"heap": "system"})
        self.ask("camera", "Allocate", {"heap": "system", "role": "system", "size": PAGE})
        self.send("camera", '{"method":"io.dmaheapd.Allocator.Allocate","parameters":{"size":1e999999}}')
        self.receive("camera")
        for text in ('{"method":"io.dmaheapd.Allocator.Allocate"}',
                     '{"method":"io.dmaheapd.Allocator.Allocate","parameters":null}'):
            self.send("camera", text)
            self.receive("camera")
        self.ask_for("camera", heap="udmabuf", access="readOnly")

    def test_past_a_region(self):
        self.connect("camera")
        self.ask_for("camera", heap=CMA, size=64 * MIB + 1)
        self.ask_for("camera", role="contiguous", size=64 * MIB + 1)

    def test_parameters_of_lists(self):
        self.connect("root", "root")
        for method in ("ListHeaps", "GetUsage", "ListClients", "ListBuffers"):
            self.ask("root", method, {"colour": "blue"})
        for parameter, values in (("unit", (1, True, ["a"], {})), ("uid", (-1, 1 << 64, 1.5, "0", True, [0], {}))):
            for value in values:
                self.ask("root", "ListBuffers", {parameter: value})

    def test_unknown_heaps(self):
        self.connect("camera")
        self.ask_for("camera", heap="unheard-of")
        self.ask_for("camera", heap="x" * 64)
        self.ask_for("camera", role="unheard-of")


class Buffers(WireTest):
    """Buffers that are handed out, and the lists that tell of them."""

    CONFIG = ("[Limits]\nClientBytesMax=16M\nClientBuffersMax=100\nUserBytesMax=32M\n"
              "[Heap system]\nClientBytesMax=8M\n"
              "[Client test-display.scope]\nClientBytesMax=infinity\nClientBuffersMax=infinity\n")

    def test_allocate(self):
        self.connect("camera")
        for parameters in ({}, {"heap": "system"}, {"role": "system"}, {"role": "contiguous"}, {"heap": "reserved"},
                           {"heap": "udmabuf"}, {"size": 1}, {"size": PAGE + 1, "count": 3},
                           {"access": "readOnly"}, {"access": "readWrite"},
                           {"label": "a camera's frame ~"}, {"label": "y" * 31, "count": 2},
                           {"heap": None, "role": None, "count": None, "access": None, "label": None}):
            vmtest.close_fds(self.ask("camera", "Allocate", {"size": PAGE} | parameters))

    def test_usage_and_lists(self):
        self.connect("camera")
        self.connect("display", "user2")
        self.connect("root", "root")
        for name in ("camera", "display", "root"):
            self.ask(name, "GetUsage")
        self.ask_for("camera", size=3 * PAGE, count=2, label="frame 1")
        self.ask_for("camera", heap=CMA)
        self.ask_for("display", heap="reserved", size=2 * PAGE)
        self.ask_for("display", heap="udmabuf", size=PAGE)
        for name in ("camera", "display", "root"):
            self.ask(name, "GetUsage")
        self.ask("root", "ListClients")
        for parameters in ({}, {"unit": "test-camera.scope"}, {"uid": 1001}, {"unit": "test-camera.scope", "uid": 1001},
                           {"unit": None, "uid": None}, {"unit": "", "uid": 0}):
            self.ask("root", "ListBuffers", parameters)

    def test_usage_in_a_bounded_control_group(self):
        self.connect("bounded")
        vmtest.write_file(f"{CGROUPS}/test-bounded.scope/memory.max", 64 * MIB)
        self.ask("bounded", "GetUsage", vary=["cgroupHeadroom"])
        self.kill("/test-bounded.scope")
        self.ask("bounded", "GetUsage")
        self.ask_for("bounded")

    def kill(self, cgroup):
        """Kills the client and removes its control group. The connection stays."""
        vmtest.write_file(f"{CGROUPS}{cgroup}/cgroup.kill", 1)
        vmtest.wait_until(lambda: remove_cgroup(cgroup), DEADLINE, "the control group is removed")

    def test_only_for_root(self):
        self.connect("camera")
        for method in ("ListClients", "ListBuffers"):
            self.ask("camera", method)


class Defaults(WireTest):
    def test_defaults(self):
        self.connect("camera")
        self.ask("camera", "GetUsage", replace=DEFAULT_LIMITS)
        self.ask_for("camera", heap=CMA)
        self.ask("camera", "GetUsage", replace=DEFAULT_LIMITS)


class Denied(WireTest):
    CONFIG = "[Heap system]\nAllowUsers=user2\n[Role system]\nHeaps=system\n"

    def test_denied(self):
        self.connect("camera")
        self.connect("display", "user2")
        self.ask_for("camera", heap="system")
        self.ask_for("camera", role="system")
        self.ask_for("display", heap="system")


class QuotaOfClient(WireTest):
    CONFIG = f"[Limits]\nClientBytesMax={16 * PAGE}\nClientBuffersMax=5\n"

    def test_quota_of_client(self):
        self.connect("camera")
        self.ask_for("camera", size=PAGE, count=6)
        self.ask_for("camera", size=16 * PAGE + 1)
        self.ask_for("camera", size=3 * PAGE, count=5)
        self.ask_for("camera", size=PAGE)
        self.ask_for("camera", size=2 * PAGE)
        self.ask("camera", "GetUsage", replace=DEFAULT_LIMITS[1:])


class QuotaOfUser(WireTest):
    CONFIG = f"[Limits]\nUserBytesMax={16 * PAGE}\n"

    def test_quota_of_user(self):
        self.connect("camera")
        self.connect("display")
        self.ask_for("camera", size=15 * PAGE)
        self.ask_for("display", size=2 * PAGE)


class QuotaOfHeap(WireTest):
    CONFIG = (f"[Heap system]\nClientBytesMax={16 * PAGE}\n"
              f"[Heap {CMA}]\nClientBytesMax=100%\nReserveBytes=16M\nReserveFor=test-display.scope\n")

    def test_quota_of_heap(self):
        for name in ("camera", "display", "other"):
            self.connect(name)
        self.ask_for("camera", size=17 * PAGE)  # of one client
        self.ask_for("camera", heap=CMA, size=30 * MIB)
        self.ask_for("other", heap="reserved", size=20 * MIB)  # of those without a part in the reserve
        self.ask_for("display", heap=CMA, size=36 * MIB)  # of all


class QuotaOfSystem(WireTest):
    CONFIG = f"[Limits]\nSystemBytesMax={16 * PAGE}\n"

    def test_quota_of_system(self):
        self.connect("camera")
        self.ask_for("camera", size=PAGE)
        self.ask_for("camera", size=16 * PAGE)


class QuotaOfMemory(WireTest):
    CONFIG = "[Limits]\nClientBytesMax=infinity\nUserBytesMax=infinity\nSystemBytesMax=infinity\nKeepAvailable=90%\n"

    def test_quota_of_memory(self):
        self.connect("camera")
        self.ask_for("camera", size=1 << 47, count=253, vary=["limit", "used"])


class QuotaOfControlGroup(WireTest):
    def test_quota_of_control_group(self):
        self.connect("camera")
        vmtest.write_file(f"{CGROUPS}/test-camera.scope/memory.max", 32 * MIB)
        self.ask_for("camera", size=64 * MIB, vary=["used"])


class Resources(WireTest):
    CONFIG = "[Daemon]\nIdleTimeoutSec=infinity\n"

    def test_processes(self):
        self.connect("camera")
        vmtest.write_file(f"{CGROUPS}/test-camera.scope/pids.max", 1)
        self.ask_for("camera")

    def test_file_descriptors(self):
        self.connect("camera")
        self.ask("camera", "ListBuffers")
        pid = vmtest.unit_pid()
        highest = max(map(int, os.listdir(f"/proc/{pid}/fd")))
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 524288))
        self.assertGreater(highest, 3)
        self.ask_for("camera")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        self.ask_for("camera")

    def test_in_flight(self):
        """A client that has replies to read gets no buffers."""
        connection = self.connect("camera")
        asked = call_text(SERVICE_INTERFACE + ".GetInterfaceDescription", {"interface": vmtest.INTERFACE})
        n_calls = 30
        for _ in range(n_calls):
            connection.send_raw(asked.encode() + b"\0")
            vmtest.wait_until(lambda: unread(connection.socket) == 0, DEADLINE, "the daemon has read it")
        self.send("camera", call_text("Allocate", {"size": PAGE}))
        vmtest.wait_until(lambda: unread(connection.socket) == 0, DEADLINE, "the daemon has read it")
        vmtest.as_user("user2", vmtest.call, "ListHeaps")  # and is done with it
        for _ in range(n_calls):
            self.receive_raw("camera")
        self.receive("camera")

    def test_ledger(self):
        """The file system is full."""
        vmtest.call("ListHeaps")
        vmtest.systemctl("stop", vmtest.SERVICE)
        vmtest.run("mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", LEDGER_DIRECTORY)
        try:
            other = self.connect("other")
            for _ in range(4):
                self.allocate(other, PAGE, count=64)
            self.connect("camera")
            self.ask_for("camera")
        finally:
            vmtest.systemctl("stop", vmtest.SERVICE)
            vmtest.run("umount", LEDGER_DIRECTORY)


class Connections(WireTest):
    CONFIG = "[Daemon]\nConnectionsPerUserMax=1\n"

    def test_connections(self):
        self.connect("camera")
        self.ask_for("camera")
        self.connect("display")
        for method in METHODS:
            self.ask("display", method, {"size": PAGE} if method == "Allocate" else {})


class ConnectionsOfAll(WireTest):
    CONFIG = "[Daemon]\nConnectionsMax=1\n"

    def test_connections_of_all(self):
        self.connect("camera")
        self.ask_for("camera")
        self.connect("display", "user2")
        self.ask_for("display")


class Slow(WireTest):
    CONFIG = "[Daemon]\nAllocationTimeoutSec=2s\n"

    def test_timed_out(self):
        self.connect("camera")
        frozen = f"{CGROUPS}/test-camera.scope/cgroup.freeze"
        vmtest.write_file(frozen, 1)
        self.ask_for("camera", heap=CMA)
        self.ask_for("camera", role="system")
        vmtest.write_file(frozen, 0)


def make_recording():
    """Runs all tests, and prints their sections instead of comparing them."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            vmtest.main()
        finally:
            print("".join(recording), file=sys.__stdout__, end="")


if __name__ == "__main__":
    if sys.argv[1:] == ["--record"]:
        del sys.argv[1]
        recording = []
        make_recording()
    else:
        vmtest.main()
