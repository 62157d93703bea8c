#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M"
# testbed: kernel=stock build=sanitize append="cma=64M dma_heap.mem_accounting=1"
"""Limits are exact: a request that just fits passes, one page more is refused, and the reply names the limit."""

import os
import select
import socket

import vmtest
from accountingtest import CMA, MIB, PAGE, AccountingTest

A = "/test-a.scope"
B = "/test-b.scope"
LIMIT = 16 * PAGE
SIZE_MAX = 1 << 47
COUNT_MAX = 253


class Clients(AccountingTest):
    CONFIG = f"[Limits]\nClientBytesMax={LIMIT}\n"

    def setUp(self):
        super().setUp()
        self.a = self.client(self.cgroup(A))

    def refused(self, size, count=1, used=LIMIT):
        self.assert_refused(self.a, "client", LIMIT, used, size, count, name="test-a.scope")

    def test_the_limit_is_exact_to_the_page(self):
        self.refused(LIMIT + 1, used=0)
        self.allocate(self.a, LIMIT - PAGE)
        self.refused(PAGE + 1, used=LIMIT - PAGE)
        self.allocate(self.a, 1)
        self.refused(1)
        self.assertEqual(self.usage(self.a), (LIMIT, 2))

    def test_of_several_buffers_all_or_none_are_given(self):
        self.refused(PAGE, 17, used=0)
        self.assertEqual(self.usage(self.a), (0, 0))
        self.allocate(self.a, PAGE, count=16)
        self.refused(PAGE, 2)
        self.assertEqual(self.usage(self.a), (LIMIT, 16))

    def test_one_freed_makes_room_for_one(self):
        fds = self.allocate(self.a, PAGE, count=16)
        for _ in range(10):
            os.close(fds.pop(0))
            fds += self.allocate(self.a, PAGE)
            self.refused(PAGE)

    def test_one_freed_makes_room_for_one_while_another_client_asks_for_too_much(self):
        """That client belongs to another user and never pauses."""
        cgroup = self.cgroup(B)
        going_on, stop = socket.socketpair()
        child = vmtest.Child(hammer, cgroup, going_on)
        try:
            self.test_one_freed_makes_room_for_one()
        finally:
            stop.sendall(b"stop")
            n_refused, other = child.result()
            going_on.close()
            stop.close()
        self.assertGreater(n_refused, 0)
        self.assertEqual(other, [])

    def test_no_product_of_size_and_count_wraps_around(self):
        self.allocate(self.a, PAGE)
        for size, count in ((SIZE_MAX, COUNT_MAX), (SIZE_MAX, 1), (SIZE_MAX - 1, COUNT_MAX), (1 << 46, 4),
                            (1 << 32, COUNT_MAX)):
            with self.subTest(size=size, count=count):
                self.refused(size, count, used=PAGE)
        self.assertEqual(self.usage(self.a), (PAGE, 1))

    def test_other_clients_have_limits_of_their_own(self):
        self.allocate(self.a, LIMIT)
        self.allocate(self.client(self.cgroup(B)), LIMIT)
        self.allocate(self.client(A, user="user2"), LIMIT)

    def test_one_of_four_that_ask_at_once_gets_the_last_page(self):
        self.allocate(self.a, LIMIT - PAGE)
        others = [self.client(A) for _ in range(4)]
        for _ in range(5):
            for connection in others:
                connection.send("Allocate", {"size": PAGE})
            replies = [self.close_later(connection.receive()) for connection in others]
            self.assertEqual(sorted(str(reply.error) for reply in replies), ["None"] + 3 * ["QuotaExceeded"])
            for reply in replies:
                vmtest.close_fds(reply.fds)
                reply.fds.clear()


def hammer(cgroup, going_on):
    """Asks for a page too much until it is told to stop. Returns how often it was refused, and all other replies."""
    with open(f"/sys/fs/cgroup{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(os.getpid()))
    vmtest.become("user2")
    n_refused, other = 0, []
    with vmtest.Varlink() as connection:
        while not select.select([going_on], [], [], 0)[0]:
            reply = connection.call("Allocate", {"size": LIMIT + PAGE})
            if reply.error == "QuotaExceeded":
                n_refused += 1
            else:
                other.append(repr(reply))
    return n_refused, other


class Buffers(AccountingTest):
    CONFIG = "[Limits]\nClientBuffersMax=5\n"

    def test_the_limit_of_buffers_is_exact(self):
        a = self.client(self.cgroup(A))
        self.assert_refused(a, "client", 5, 0, PAGE, 6, resource="buffers", name="test-a.scope")
        fds = self.allocate(a, PAGE, count=4) + self.allocate(a, PAGE)
        self.assert_refused(a, "client", 5, 5, PAGE, resource="buffers", name="test-a.scope")
        os.close(fds.pop())
        self.assert_refused(a, "client", 5, 4, PAGE, 2, resource="buffers", name="test-a.scope")
        self.allocate(a, PAGE)
        self.assert_refused(a, "client", 5, 5, PAGE, resource="buffers", name="test-a.scope")


class Defaults(AccountingTest):
    def test_a_client_may_have_1024_buffers(self):
        a = self.client(self.cgroup(A))
        fds = [fd for n in (253, 253, 253, 253, 12) for fd in self.allocate(a, PAGE, count=n)]
        self.assert_refused(a, "client", 1024, 1024, PAGE, resource="buffers", name="test-a.scope")
        os.close(fds.pop())
        self.allocate(a, PAGE)
        self.assert_refused(a, "client", 1024, 1024, PAGE, resource="buffers", name="test-a.scope")

    def test_a_client_may_have_a_quarter_of_the_memory_and_a_user_half(self):
        usage = self.client(self.cgroup(A)).call("GetUsage")
        ram = vmtest.meminfo("MemTotal")
        self.assertEqual((usage["client"]["bytesMax"], usage["user"]["bytesMax"]), (ram // 4, ram // 2))
        self.assertEqual(usage["client"]["buffersMax"], 1024)


class Users(AccountingTest):
    CONFIG = f"[Limits]\nUserBytesMax={LIMIT}\n"

    def test_the_limit_of_a_user_is_exact_to_the_page(self):
        a, b = self.client(self.cgroup(A)), self.client(self.cgroup(B))
        (fd,) = self.allocate(a, LIMIT - PAGE)
        self.assert_refused(b, "user", LIMIT, LIMIT - PAGE, 2 * PAGE, name="1000")
        self.allocate(b, PAGE)
        for connection in (a, b):
            self.assert_refused(connection, "user", LIMIT, LIMIT, PAGE, name="1000")
        os.close(fd)
        self.assert_refused(b, "user", LIMIT, PAGE, LIMIT, name="1000")
        self.allocate(b, LIMIT - PAGE)
        self.allocate(self.client(A, user="user2"), LIMIT)


class Machine(AccountingTest):
    CONFIG = f"[Limits]\nSystemBytesMax={LIMIT}\n"

    def test_the_limit_of_the_machine_is_exact_to_the_page(self):
        a, b = self.client(self.cgroup(A)), self.client(self.cgroup(B), user="user2")
        self.assert_refused(a, "system", LIMIT, 0, LIMIT + PAGE)
        (fd,) = self.allocate(a, LIMIT - PAGE)
        self.allocate(b, PAGE, heap=CMA)
        self.assert_refused(b, "system", LIMIT, LIMIT, PAGE)
        os.close(fd)
        self.allocate(b, LIMIT - PAGE)
        self.assert_refused(a, "system", LIMIT, LIMIT, PAGE)


class Memory(AccountingTest):
    CONFIG = "[Limits]\nClientBytesMax=infinity\nUserBytesMax=infinity\nSystemBytesMax=infinity\nKeepAvailable=90%\n"

    def test_memory_that_must_remain_available_is_not_given(self):
        """There is no other limit, and no size is so large that the sum wraps around."""
        connection = self.client()
        ram = vmtest.meminfo("MemTotal")
        for size, count in ((ram // 10 * 9, 1), (SIZE_MAX, COUNT_MAX)):
            with self.subTest(size=size, count=count):
                reply = connection.call("Allocate", {"size": size, "count": count})
                self.assert_error(reply, "QuotaExceeded", scope="system",
                                  limit=ram - ram // 10 * 9 - ram % 10 * 9 // 10,
                                  requested=-(-size // PAGE) * PAGE * count)
        self.assertEqual(self.usage(connection), (0, 0))


class Heaps(AccountingTest):
    CONFIG = f"[Heap system]\nClientBytesMax={LIMIT}\n"

    def test_a_heap_can_have_a_limit_for_each_client(self):
        a = self.client(self.cgroup(A))
        self.allocate(a, LIMIT)
        self.assert_refused(a, "heap", LIMIT, LIMIT, PAGE, name="system")
        self.allocate(a, PAGE, heap=CMA)
        self.allocate(self.client(self.cgroup(B)), LIMIT)

    def test_a_client_may_have_half_of_a_region_and_all_clients_all_of_it(self):
        """The limits are the region's, whichever of its two names a request uses."""
        a, b, c = (self.client(self.cgroup(f"/test-{name}.scope")) for name in "abc")
        (fd,) = self.allocate(a, 32 * MIB, heap=CMA)
        self.assert_refused(a, "heap", 32 * MIB, 32 * MIB, PAGE, heap="reserved", name="reserved")
        (other,) = self.allocate(b, 16 * MIB, heap="reserved")
        self.assert_refused(c, "heap", 64 * MIB, 48 * MIB, 16 * MIB + PAGE, heap=CMA, name=CMA)
        os.close(other)
        os.close(fd)
        # Without a pause, each client gets what the one before it has just freed.
        for connection in (a, b, c, a, b, c):
            (fd,) = self.allocate(connection, 32 * MIB, heap=CMA)
            os.close(fd)

    def test_more_than_a_region_has_is_an_invalid_size(self):
        a = self.client(self.cgroup(A))
        reply = a.call("Allocate", {"heap": CMA, "size": 64 * MIB + 1})
        self.assert_error(reply, "org.varlink.service.InvalidParameter", parameter="size")
        self.assert_refused(a, "heap", 32 * MIB, 0, 64 * MIB, heap=CMA, name=CMA)


if __name__ == "__main__":
    vmtest.main()
