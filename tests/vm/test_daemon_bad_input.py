#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" build=release,sanitize
"""Clients send what they should not. Each gets an error or is cut off; the daemon runs on, and others are served."""

import fcntl
import json
import pathlib
import re
import select
import struct
import termios
import time

import vmtest
from daemontest import DEADLINE, INVALID_PARAMETER, DaemonTest, daemon_pid, modprobe_conf

PAGE = 4096
MIB = vmtest.MIB
ALLOCATE = vmtest.INTERFACE + ".Allocate"


class BadInput(DaemonTest):
    """After each test the daemon is still the same process."""

    def setUp(self):
        super().setUp()
        self.pid = daemon_pid()

    def tearDown(self):
        self.assert_others_served()
        self.assertEqual(vmtest.unit_pid(), self.pid)
        super().tearDown()

    def assert_refused(self, parameter, **parameters):
        with self.subTest(**{name: str(value)[:100] for name, value in parameters.items()}):
            self.assert_error(vmtest.allocate(**parameters), INVALID_PARAMETER, parameter=parameter)

    def assert_cut_off(self, data):
        with self.subTest(data=data[:100]), vmtest.Varlink(timeout=DEADLINE) as connection:
            with self.assertRaises(vmtest.ConnectionClosed):
                connection.send_raw(data)
                connection.receive()


class Parameters(BadInput):
    def test_impossible_sizes_are_refused(self):
        for size in (0, -1, -PAGE, -(1 << 63), (1 << 47) + 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, 1 << 200,
                     1.5, 1e300):
            self.assert_refused("size", size=size)

    def test_the_greatest_size_is_valid_but_not_to_be_had(self):
        reply = vmtest.allocate(size=1 << 47)
        self.assertIn(reply.error, ("OutOfMemory", "QuotaExceeded"))

    def test_the_greatest_size_times_the_greatest_count_does_not_wrap_around(self):
        reply = vmtest.allocate(size=1 << 47, count=253)
        self.assertIn(reply.error, ("OutOfMemory", "QuotaExceeded"))

    def test_more_than_a_region_has_is_refused(self):
        vmtest.close_fds(vmtest.allocate(role="contiguous", size=1).fds)
        for name in ({"heap": "default_cma_region"}, {"role": "contiguous"}):
            self.assert_refused("size", size=64 * MIB + 1, **name)
            with self.subTest(**name):
                self.assertNotEqual(self.close_later(vmtest.allocate(size=64 * MIB, **name)).error, INVALID_PARAMETER)

    def test_a_size_is_required(self):
        self.assert_refused("size", heap="system")
        self.assert_refused("size", size=None)

    def test_impossible_counts_are_refused(self):
        for count in (0, -1, 254, 1 << 32, (1 << 32) + 1, 1 << 63, 1 << 64, 1.5):
            self.assert_refused("count", size=PAGE, count=count)

    def test_impossible_labels_are_refused(self):
        for label in ("", "x" * 32, "a\nb", "tab\t", "\x7f", "ä", "x" * 100000):
            self.assert_refused("label", size=PAGE, label=label)

    def test_unknown_kinds_of_access_are_refused(self):
        for access in ("", "writeOnly", "READONLY", "readOnly "):
            self.assert_refused("access", size=PAGE, access=access)

    def test_a_heap_and_a_role_together_are_refused(self):
        reply = self.close_later(vmtest.allocate(size=PAGE, heap="system", role="system"))
        self.assertEqual(reply.error, INVALID_PARAMETER)
        self.assertIn(reply["parameter"], ("heap", "role"))

    def test_an_unknown_role_is_no_such_heap(self):
        self.assert_error(vmtest.allocate(size=PAGE, role="unheard-of"), "NoSuchHeap", role="unheard-of")

    def test_unknown_parameters_are_refused(self):
        self.assert_refused("colour", size=PAGE, colour="blue")
        self.assert_refused("Size", size=PAGE, Size=PAGE)
        self.assert_error(vmtest.call("ListHeaps", {"all": True}), INVALID_PARAMETER, parameter="all")

    def test_wrong_types_are_refused(self):
        for name in ("heap", "role", "access", "label"):
            for value in (1, True, ["system"], {"name": "system"}):
                self.assert_refused(name, **({"size": PAGE} | {name: value}))
        for name in ("size", "count"):
            for value in ("4096", "", True, [4096], {}):
                self.assert_refused(name, **({"size": PAGE} | {name: value}))


class Messages(BadInput):
    def test_malformed_messages_end_the_connection(self):
        for data in (b"", b"{", b"}", b"nonsense", b"[]", b"1", b"null", b'"' + ALLOCATE.encode() + b'"',
                     b"\xff\xfe\xfd", b'{"method":', b"{}", b'{"method":1}', b'{"method":null}', b'{"parameters":{}}',
                     b'{"method":"%s","parameters":[]}' % ALLOCATE.encode(),
                     b'{"method":"%s","parameters":"size"}' % ALLOCATE.encode(),
                     b'{"method":"%s","parameters":{"size":1}} trailing' % ALLOCATE.encode(),
                     b'{"error":"io.dmaheapd.Allocator.TimedOut"}', b"[" * 100000, b'{"a":' * 100000):
            self.assert_cut_off(data + b"\0")

    def test_a_number_out_of_range_is_refused(self):
        with vmtest.Varlink(timeout=DEADLINE) as connection:
            connection.send_raw(b'{"method":"%s","parameters":{"size":1e999999}}\0' % ALLOCATE.encode())
            self.assert_error(connection.receive(), INVALID_PARAMETER, parameter="size")

    def test_unknown_methods_are_refused(self):
        for method in (vmtest.INTERFACE + ".Free", "io.example.Allocate"):
            with self.subTest(method=method):
                self.assert_error(vmtest.call(method), "org.varlink.service.MethodNotFound", method=method)

    def test_more_and_oneway_do_no_harm(self):
        """'more' changes nothing for Allocate. With 'oneway' there is no reply, so there is no buffer either."""
        with vmtest.Varlink() as connection:
            connection.send("Allocate", {"size": PAGE}, more=True)
            self.assert_served(connection.receive())
            connection.send("Allocate", {"size": PAGE}, oneway=True)
            self.assertIsNone(connection.call("ListHeaps").error)

    def test_a_message_of_17_mib_ends_the_connection(self):
        padding = "x" * (17 * MIB)
        message = json.dumps({"method": ALLOCATE, "parameters": {"size": PAGE, "label": padding}})
        self.assert_cut_off(message.encode() + b"\0")

    def test_17_mib_without_an_end_end_the_connection(self):
        self.assert_cut_off(b"x" * (17 * MIB))

    def test_500_calls_at_once_are_answered_in_their_order(self):
        with vmtest.Varlink(timeout=DEADLINE) as connection:
            call = json.dumps({"method": ALLOCATE, "parameters": {"size": 0}}).encode() + b"\0"
            connection.send_raw(call * 500)
            for _ in range(500):
                self.assert_error(connection.receive(), INVALID_PARAMETER, parameter="size")

    def test_descriptors_from_the_client_are_closed(self):
        before = vmtest.n_fds(self.pid)
        for _ in range(20):
            with vmtest.Varlink() as connection:
                message = json.dumps({"method": vmtest.INTERFACE + ".ListHeaps"}).encode() + b"\0"
                vmtest.socket.send_fds(connection.socket, [message], [0] * 50)
                try:
                    connection.receive()
                except vmtest.ConnectionClosed:
                    pass
        vmtest.wait_until(lambda: vmtest.n_fds(self.pid) <= before, DEADLINE, "the descriptors are closed")


class Connections(BadInput):
    def test_a_user_may_have_64_connections(self):
        """The next two are refused with a reason, and served as soon as one of the 64 has gone."""
        others = vmtest.as_user("user2", connections_of_a_user)
        self.assertEqual(others, [None] * 64 + ["OutOfResources"] * 2 + [None])
        # A connection far past the limit is closed without a reply.
        self.assertEqual(vmtest.as_user("user2", too_many_connections_of_a_user), "closed")


def connections_of_a_user():
    """The error, or None, of one call over each of 66 connections, and of another one over the last after the first has
    gone."""
    connections = [vmtest.Varlink(timeout=DEADLINE) for _ in range(66)]
    replies = [connection.call("Allocate", {"size": PAGE}) for connection in connections]
    assert all(reply["resource"] == "connections" for reply in replies if reply.error)
    connections[0].close()
    vmtest.wait_until(lambda: not connections[-1].call("GetUsage").error, DEADLINE, "there is room again")
    return [reply.error for reply in replies] + [connections[-1].call("GetUsage").error]


def too_many_connections_of_a_user():
    connections = [vmtest.Varlink(timeout=DEADLINE) for _ in range(100)]
    try:
        return connections[-1].call("GetUsage").error
    except vmtest.ConnectionClosed:
        return "closed"


class Subscribers(BadInput):
    def test_a_subscriber_that_does_not_read_gets_only_the_latest_list(self):
        """The daemon queues no lists for it; when it reads again, it gets the latest one."""
        # 200 loadable heaps make the list long.
        aliases = "\n".join(f"alias dma-heap:could-be-loaded-{n:03} vgem" for n in range(200))
        with modprobe_conf(aliases), vmtest.Varlink() as slow, vmtest.Varlink() as quick, vmtest.Varlink() as client:
            vmtest.wait_until(lambda: len(client.call("ListHeaps")["heaps"]) > 200, DEADLINE, "the heaps are listed")
            for connection in (slow, quick):
                connection.send("ListHeaps", more=True)
            slow.receive()
            used = system_used(quick.receive())
            for _ in range(30):
                self.assert_served(client.call("Allocate", {"size": PAGE}))
                used += PAGE
                vmtest.wait_until(lambda: system_used(quick.receive()) == used, DEADLINE,
                                  "a subscriber that reads is told")
            n_lists = 1
            while system_used(slow.receive()) != used:
                n_lists += 1
            self.assertLess(n_lists, 25)


class Unread(BadInput):
    GET_INFO = json.dumps({"method": "org.varlink.service.GetInfo"}).encode() + b"\0"

    def test_a_client_that_never_reads_is_cut_off(self):
        """The daemon does not queue replies for it without end."""
        with vmtest.Varlink(timeout=DEADLINE) as connection:
            sent = 0
            with self.assertRaises(vmtest.ConnectionClosed):
                while sent < 64 * MIB:
                    connection.send_raw(self.GET_INFO * 10)
                    sent += len(self.GET_INFO) * 10
            # The daemon stops soon after the socket is full of replies.
            self.assertLess(sent, 2 * MIB)
        if not is_sanitized(self.pid):  # AddressSanitizer keeps freed memory
            self.assertLess(resident(self.pid), 64 * MIB)


def is_sanitized(pid):
    return "libasan" in pathlib.Path(f"/proc/{pid}/maps").read_text(encoding="ascii")


def resident(pid):
    return 1024 * int(re.search(r"VmRSS:\s*(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(encoding="ascii"))[1])


def system_used(reply):
    return next(heap["used"] for heap in reply["heaps"] if heap["name"] == "system")


class Slow(BadInput):
    """All of them run at once, because each takes a minute."""

    def test_slow_clients_are_cut_off_and_idle_ones_are_not(self):
        call = json.dumps({"method": ALLOCATE, "parameters": {"size": PAGE, "label": "z" * 31}}).encode()
        begun = time.monotonic()
        connections = {name: vmtest.Varlink() for name in ("silent", "half", "half later", "byte a second", "idle")}
        for connection in connections.values():
            self.addCleanup(connection.close)
        for name in ("idle", "half later"):
            self.assertIsNone(connections[name].call("ListHeaps").error)
        connections["half"].send_raw(call[:20])
        # It waits until the first part is read: the daemon does not start its timer for what it reads while it answers.
        connections["half later"].send_raw(call[:10])
        vmtest.wait_until(lambda: unread(connections["half later"].socket) == 0, DEADLINE, "the first part is read")
        connections["half later"].send_raw(call[10:20])
        self.assert_others_served()

        ended, sent = {}, 0
        while len(ended) < 4 and time.monotonic() < begun + 150:
            waiting = {connections[name].socket: name for name in connections if name not in ended}
            for readable in select.select(list(waiting), [], [], 1)[0]:
                self.assertEqual(receive(readable), b"", waiting[readable])
                ended[waiting[readable]] = time.monotonic() - begun
            if "byte a second" not in ended and sent <= time.monotonic() - begun:
                try:
                    connections["byte a second"].send_raw(call[sent:sent + 1])
                except vmtest.ConnectionClosed:
                    ended["byte a second"] = time.monotonic() - begun
                sent += 1
        print("# cut off after", {name: round(seconds) for name, seconds in ended.items()})
        self.assertLess(sent, len(call), "the whole call was sent")
        for name, soonest in (("silent", 58), ("half", 9), ("half later", 9), ("byte a second", 58)):
            with self.subTest(name=name):
                self.assertIn(name, ended)
                self.assertGreater(ended[name], soonest)
                self.assertLess(ended[name], soonest + 30)
        # A connection that is idle between calls stays.
        self.assertNotIn("idle", ended)
        self.assert_served(connections["idle"].call("Allocate", {"size": PAGE}))


def unread(sock):
    """The number of bytes sent that the peer has not read yet."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]


def receive(sock):
    try:
        return sock.recv(1)
    except ConnectionResetError:
        return b""


if __name__ == "__main__":
    vmtest.main()
