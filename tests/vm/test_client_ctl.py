#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" enable=dmaheapd.socket
"""dmaheapctl, as people and scripts call it."""

import json
import os
import signal
import subprocess
import unittest

import vmtest

AS_USER1 = ["setpriv", "--reuid", "user1", "--regid", "user1", "--init-groups"]
AS_OUTSIDER = ["setpriv", "--reuid", "outsider", "--regid", "outsider", "--init-groups"]


def ctl(*arguments, prefix=AS_USER1, **options):
    return vmtest.run(*prefix, "dmaheapctl", *arguments, check=False, **options)


class Ctl(unittest.TestCase):
    def succeeds(self, *arguments, **options):
        done = ctl(*arguments, **options)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def fails(self, status, words, *arguments, **options):
        done = ctl(*arguments, **options)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(words, done.stderr)
        self.assertEqual(done.stdout, "")

    def run_with_buffers(self, *options, script):
        """Runs a Python program with the buffers of 'dmaheapctl allocate'; what it prints."""
        return self.succeeds("allocate", *options, "--", "python3", "-c", script)


class List(Ctl):
    def test_list_prints_a_table(self):
        lines = self.succeeds("list").splitlines()
        self.assertEqual(lines[0].split()[:3], ["HEAP", "STATE", "ROLES"])
        heaps = {line.split()[0]: line.split() for line in lines[1:]}
        self.assertEqual(heaps["system"][1:3], ["ready", "system"])
        self.assertEqual(heaps["default_cma_region"][2:4], ["contiguous", "64M"])

    def test_json_is_the_reply(self):
        expected = vmtest.call("ListHeaps").parameters
        short = self.succeeds("list", "--json=short")
        self.assertEqual(short.count("\n"), 1)
        self.assertEqual(json.loads(short), expected)
        pretty = self.succeeds("--json=pretty", "list")
        self.assertGreater(pretty.count("\n"), 10)
        self.assertEqual(json.loads(pretty), expected)


class Allocate(Ctl):
    def test_without_a_command_the_buffer_is_shown_and_freed(self):
        line = self.succeeds("allocate", "5000")
        self.assertRegex(line, r"^buffer \d+: 8K from heap system\n$")
        inode = int(line.split()[1].rstrip(":"))
        vmtest.wait_until(lambda: inode not in vmtest.live_buffers(), what="the buffer is gone")

    def test_json_is_the_reply(self):
        reply = json.loads(self.succeeds("allocate", "--count=3", "--json=short", "1M"))
        self.assertEqual([b["fileDescriptor"] for b in reply["buffers"]], [0, 1, 2])
        self.assertEqual({b["size"] for b in reply["buffers"]}, {1 << 20})

    def test_a_command_inherits_the_buffers_and_nothing_else(self):
        said = self.run_with_buffers("--role=contiguous", "--count=2", "--label=a test", "8M", script="""
import os
assert os.environ["LISTEN_FDS"] == "2" and os.environ["LISTEN_PID"] == str(os.getpid())
assert os.environ["LISTEN_FDNAMES"] == "default_cma_region:default_cma_region"
for fd in (3, 4):
    print(open(f"/proc/self/fdinfo/{fd}").read())
assert "socket" not in "".join(os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2, 3, 4))
try:
    os.fstat(5)
except OSError:
    print("no more")
""")
        self.assertEqual(said.count("exp_name:\tdefault_cma_region"), 2)
        self.assertEqual(said.count("size:\t8388608"), 2)
        self.assertEqual(said.count("name:\ta test"), 2)
        self.assertIn("no more", said)

    def test_a_command_can_map_its_buffer(self):
        said = self.run_with_buffers("1M", script="""
import mmap
m = mmap.mmap(3, 1 << 20)
assert m[:] == bytes(1 << 20)
m[5] = 7
print(mmap.mmap(3, 1 << 20)[5])
""")
        self.assertEqual(said, "7\n")

    def test_a_read_only_buffer_cannot_be_mapped_writable(self):
        said = self.run_with_buffers("--read-only", "1M", script="""
import mmap
mmap.mmap(3, 1 << 20, prot=mmap.PROT_READ)
try:
    mmap.mmap(3, 1 << 20)
except PermissionError:
    print("refused")
""")
        self.assertEqual(said, "refused\n")

    def test_one_to_253_buffers_can_be_had_at_once(self):
        self.assertEqual(self.succeeds("allocate", "-n", "253", "4K").count("\n"), 253)
        self.fails(1, "org.varlink.service.InvalidParameter", "allocate", "-n", "254", "4K")
        self.fails(2, "not a number of buffers", "allocate", "-n", "0", "4K")

    def test_the_exit_status_is_the_commands(self):
        self.assertEqual(ctl("allocate", "4K", "--", "sh", "-c", "exit 7").returncode, 7)
        self.assertEqual(ctl("allocate", "4K", "--", "/nonexistent").returncode, 127)
        self.assertEqual(ctl("allocate", "4K", "--", "/etc/passwd").returncode, 126)


class Errors(Ctl):
    def test_errors_of_the_interface_are_named(self):
        for words, arguments in (
                ("io.dmaheapd.Allocator.NoSuchHeap", ["--heap=nosuch", "1M"]),
                ("io.dmaheapd.Allocator.NoSuchHeap", ["--role=nosuch", "1M"]),
                ("org.varlink.service.InvalidParameter: the parameter 'size'", ["0"]),
                ("org.varlink.service.InvalidParameter: the parameter 'size'", ["--role=contiguous", "65M"]),
                ("org.varlink.service.InvalidParameter: the parameter 'heap'", ["--heap=../system", "1M"]),
                ("org.varlink.service.InvalidParameter: the parameter 'label'", ["--label=", "1M"])):
            with self.subTest(arguments=arguments):
                self.fails(1, words, "allocate", *arguments)

    def test_wrong_arguments_are_status_2(self):
        for arguments in ([], ["nosuch"], ["list", "more"], ["list", "--nosuch"], ["--json=odd", "list"], ["allocate"],
                          ["allocate", "much"], ["allocate", "-1"], ["allocate", "8X"],
                          ["allocate", "--heap=a", "--role=b", "1"], ["--timeout=0", "list"],
                          ["--timeout=soon", "list"]):
            with self.subTest(arguments=arguments):
                self.fails(2, "dmaheapctl", *arguments)

    def test_a_daemon_that_cannot_be_reached_is_status_3(self):
        self.fails(3, "permission denied", "list", prefix=AS_OUTSIDER)
        self.fails(3, "No such file", "--address=/run/nosuch", "list")
        vmtest.systemctl("stop", "dmaheapd.socket", "dmaheapd.service")
        try:
            self.fails(3, "cannot connect to /run/dmaheapd", "list")
        finally:
            vmtest.systemctl("start", "dmaheapd.socket")

    def test_a_daemon_that_does_not_answer_is_a_timeout(self):
        pid = vmtest.wait_until(lambda: self.succeeds("list") and vmtest.unit_pid())
        os.kill(pid, signal.SIGSTOP)
        try:
            self.fails(1, "no answer", "--timeout=1", "list")
        finally:
            os.kill(pid, signal.SIGCONT)


class Monitor(Ctl):
    def test_monitor_prints_changes(self):
        self.succeeds("allocate", "--role=contiguous", "1M")  # which loads the module
        with subprocess.Popen(["timeout", "60", *AS_USER1, "dmaheapctl", "monitor"], stdout=subprocess.PIPE,
                              text=True) as monitor:
            try:
                lines = iter(monitor.stdout.readline, "")
                self.assertIn("\n", lines)  # the table, up to the empty line below it
                self.succeeds("allocate", "--role=contiguous", "7M", "--", "true")
                self.assertRegex(next((line for line in lines if "default_cma_region" in line), "nothing"),
                                 r"^\d\d:\d\d:\d\d default_cma_region: [78]M in use, was (0B|1M)$")
            finally:
                monitor.terminate()

    def test_monitor_ends_when_the_daemon_does(self):
        with subprocess.Popen(["timeout", "60", *AS_USER1, "dmaheapctl", "monitor", "--json=short"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as monitor:
            self.assertIn('"heaps"', monitor.stdout.readline())
            vmtest.systemctl("restart", "dmaheapd.service")
            self.assertIn("the daemon went away", monitor.communicate(timeout=60)[1])
            self.assertEqual(monitor.returncode, 1)


class Accounts(Ctl):
    """The commands that ask the daemon who holds what."""

    def test_usage_shows_what_the_client_holds(self):
        with subprocess.Popen(["systemd-run", "--quiet", "--collect", "--pipe", "--unit=holder", "--uid=user1",
                               "dmaheapctl", "allocate", "--count=3", "1M", "--",
                               "sh", "-c", "dmaheapctl usage; dmaheapctl usage --json=short"],
                              stdout=subprocess.PIPE, text=True) as holder:
            *table, usage = holder.stdout.read().splitlines()
        usage = json.loads(usage)
        self.assertEqual((usage["client"]["bytesUsed"], usage["client"]["buffersUsed"]), (3 << 20, 3))
        self.assertRegex("\n".join(table), r"this client +3M ")

    def test_root_sees_clients_and_buffers(self):
        with subprocess.Popen(["systemd-run", "--quiet", "--collect", "--pipe", "--unit=holder", "--uid=user1",
                               "dmaheapctl", "allocate", "--count=2", "--label=mine", "1M", "--",
                               "sh", "-c", "echo ready; read x"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            self.assertEqual(holder.stdout.readline(), "ready\n")
            clients = self.succeeds("clients", prefix=[])
            self.assertRegex(clients, r"(?m)^holder\.service +1000 +1000 +0 +2M ")
            buffers = self.succeeds("buffers", "--unit=holder.service", prefix=[])
            self.assertEqual(buffers.count("mine"), 2)
            self.assertIn("2 buffers, 2M in all.", buffers)
            self.assertIn("0 buffers", self.succeeds("buffers", "--uid=user2", prefix=[]))
            listed = json.loads(self.succeeds("buffers", "--uid=user1", "--json=short", prefix=[]))
            self.assertEqual(len(listed["buffers"]), 2)
            self.assertIn("holder.service", self.succeeds("top", "--iterations=2", "--delay=100ms", prefix=[]))
            holder.communicate("\n")

    def test_others_do_not_see_them(self):
        self.fails(1, "org.varlink.service.PermissionDenied", "clients")
        self.fails(1, "org.varlink.service.PermissionDenied", "buffers")
        self.assertIn("this client", self.succeeds("top", "--iterations=1"))

    def test_the_limit_in_the_way_is_named(self):
        done = vmtest.run_in_unit("limited", "dmaheapctl", "allocate", "64M", check=False, user="user1",
                                  MemoryMax="32M")
        self.assertEqual(done.returncode, 1)
        self.assertIn("io.dmaheapd.Allocator.QuotaExceeded: over the limit of the cgroup "
                      "/system.slice/limited.service: 32M", done.stderr)


class Help(Ctl):
    def test_every_command_has_a_help(self):
        text = self.succeeds("--help")
        for verb in ("list", "allocate", "usage", "clients", "buffers", "monitor", "top"):
            with self.subTest(verb=verb):
                self.assertIn(f"\n  {verb} ", text)
                self.assertIn(f"dmaheapctl {verb}", self.succeeds(verb, "--help"))
        self.assertRegex(self.succeeds("--version"), r"^dmaheapctl \d")


if __name__ == "__main__":
    vmtest.main()
