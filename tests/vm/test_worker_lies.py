#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" build=sanitize timeout=900
"""Workers lie to the daemon, and a daemon sends nonsense to workers and spawner; each checks what the other one
says."""

import os
import random
import shutil
import socket

import lying_spawner
import vmtest
from accountingtest import daemon_buffers
from daemontest import DEADLINE, children, daemon_pid, daemon_stopped, spawner_pid
from lying_spawner import LIE, LIES
from workertest import (CGROUPS, SPAWN_REQUEST, SPAWNER, UDMABUF, WORKER_REQUEST, Spawner, WorkerTest, freeze, restart,
                        thaw)

PAGE = 4096
N_FUZZED = 300


def lie(what):
    with open(LIE + ".new", "w", encoding="ascii") as file:
        file.write(what)
    os.rename(LIE + ".new", LIE)


class Liar(WorkerTest):
    """The real daemon has a spawner of ours, lying_spawner.py."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        shutil.copy2(SPAWNER, SPAWNER + ".real")
        shutil.copy(lying_spawner.__file__, SPAWNER + ".new")
        os.chmod(SPAWNER + ".new", 0o755)
        os.rename(SPAWNER + ".new", SPAWNER)
        lie("honest")
        restart()

    @classmethod
    def tearDownClass(cls):
        os.rename(SPAWNER + ".real", SPAWNER)
        restart()
        super().tearDownClass()

    def setUp(self):
        super().setUp()
        self.pid = daemon_pid()

    def ask(self, connection):
        return self.close_later(connection.call("Allocate", {"size": 2 * PAGE, "count": 3}))

    def state(self):
        return vmtest.n_fds(self.pid), vmtest.live_buffers(), daemon_buffers()

    def settled(self, connection):
        """The state when no request is in progress and no worker is left."""
        lie("honest")
        self.use(connection)
        seen = []

        def quiet():
            seen.append(self.state())
            return len(seen) > 2 and seen[-1] == seen[-2] and not children(spawner_pid())

        vmtest.wait_until(quiet, DEADLINE, "the worker has gone")
        return seen[-1]

    def test_each_lie_fails_the_request_and_leaves_nothing(self):
        with vmtest.Varlink(timeout=DEADLINE) as connection:
            before = self.settled(connection)
            for what in LIES:
                with self.subTest(what=what):
                    lie(what)
                    self.assert_error(self.ask(connection), "OutOfResources", resource="processes")
                    lie("honest")
                    vmtest.close_fds(self.take_fds(self.ask(connection)))
            self.assertEqual(self.settled(connection), before)
        self.assertEqual(daemon_pid(), self.pid)

    def take_fds(self, reply):
        self.assertIsNone(reply.error, reply)
        self.assertEqual(len(reply.fds), 3)
        fds = list(reply.fds)
        reply.fds.clear()
        return fds

    def test_a_second_reply_is_not_taken_for_the_next_request(self):
        """The worker sends the true reply twice; the first one answers the request."""
        with vmtest.Varlink(timeout=DEADLINE) as connection:
            before = self.settled(connection)
            lie("twice")
            for _ in range(5):
                vmtest.close_fds(self.take_fds(self.ask(connection)))
                # The second reply must not come after another request was sent.
                vmtest.wait_until(lambda: not children(spawner_pid()), DEADLINE, "the liar was found out")
            self.assertEqual(self.settled(connection), before)
        self.assertEqual(daemon_pid(), self.pid)

    def test_buffers_of_an_earlier_request_are_not_accepted(self):
        """The ledger has them already, for the client that holds them."""
        with vmtest.Varlink(timeout=DEADLINE) as connection:
            before = self.settled(connection)

            def told():
                lie("honest")
                fds = self.take_fds(self.ask(connection))
                lie("one it has given before")
                reply = self.ask(connection)
                vmtest.close_fds(fds)
                if reply.error is None:  # the request went to another worker
                    vmtest.close_fds(self.take_fds(reply))
                return reply.error and reply

            self.assert_error(vmtest.wait_until(told, DEADLINE, "a worker has tried"), "OutOfResources",
                              resource="processes")
            self.assertEqual(self.settled(connection), before)
        self.assertEqual(daemon_pid(), self.pid)

    def test_300_random_replies_leave_nothing(self):
        errors = {}
        with vmtest.Varlink(timeout=DEADLINE) as connection:
            before = self.settled(connection)
            for seed in range(N_FUZZED):
                lie(f"fuzz {seed}")
                reply = connection.call("Allocate", {"size": 2 * PAGE, "count": 1 + seed % 4})
                errors[reply.error] = errors.get(reply.error, 0) + 1
                for fd in reply.fds:
                    self.assertEqual(vmtest.fdinfo(fd)["size"], str(2 * PAGE))
                vmtest.close_fds(reply.fds)
            print("#", errors)
            self.assertGreater(errors.pop("OutOfResources"), N_FUZZED // 4)
            self.assertGreater(errors.pop(None), N_FUZZED // 20)
            # A worker may report any error of the kernel.
            self.assertLessEqual(set(errors), {"OutOfMemory", "HeapUnavailable"})
            self.assertEqual(self.settled(connection), before)
        self.assertEqual(daemon_pid(), self.pid)


class HangUp(WorkerTest):
    """The client disconnects after the worker has replied, and before the daemon has read that."""

    def test_buffers_of_a_client_that_disconnects_just_then_are_freed(self):
        cgroup = self.frozen_cgroup("/test-hangup.scope")
        pid = daemon_pid()
        for _ in range(5):
            connection = self.client(cgroup)
            self.use(connection)
            self.assert_no_worker(cgroup)
            before = vmtest.live_buffers()
            freeze(cgroup)
            self.begin(connection, cgroup)
            with daemon_stopped():
                thaw(cgroup)
                vmtest.wait_until(lambda: len(vmtest.live_buffers() - before) == 1, DEADLINE, "the worker has answered")
                connection.close()
            self.assert_others_served()
            vmtest.wait_until(lambda: vmtest.live_buffers() <= before, DEADLINE, "nobody has the buffer")
        self.assertEqual(daemon_pid(), pid)
        self.assertEqual(daemon_buffers(), {})


class Nonsense(WorkerTest):
    """The test is the daemon of a real worker and a real spawner. They exit after nonsense; no signal may kill them."""

    def setUp(self):
        super().setUp()
        self.chance = random.Random(6)
        self.device = os.open("/dev/dma_heap/system", os.O_RDWR)
        self.things = [self.device, os.open("/dev/udmabuf", os.O_RDWR), os.open("/dev/null", os.O_RDWR),
                       os.open("/", os.O_PATH), os.open(CGROUPS, os.O_RDONLY), os.memfd_create("fuzz"), os.eventfd(0),
                       socket.socket().detach()]
        self.addCleanup(vmtest.close_fds, self.things)

    def scrambled(self, message, likely):
        """The message, unchanged with the probability 'likely', else with some bytes changed or another length."""
        message = bytearray(message)
        if self.chance.random() >= likely:
            for _ in range(self.chance.choice((0, 1, 4))):
                message[self.chance.randrange(len(message))] = self.chance.randrange(256)
            message = message[:self.chance.choice((len(message), self.chance.randint(1, len(message))))]
            message += self.chance.randbytes(self.chance.choice((0, 0, 1, 200)))
        return bytes(message)

    def worker_message(self):
        # A size is either a few pages or impossible: the kernel's own heap and udmabuf would try to allocate what is
        # between.
        size = self.chance.choice((0, 1, PAGE, PAGE, 3 * PAGE, 3 * PAGE, (1 << 64) - PAGE + 1, (1 << 64) - 1))
        message = WORKER_REQUEST.pack(self.chance.getrandbits(64), size,
                                      self.chance.choice((0, 1, 3, 253, 254, 1 << 31)),
                                      self.chance.choice((0, 1, UDMABUF, 3, 1 << 31)), self.chance.randbytes(32))
        if self.chance.random() < 0.6:
            return message
        # The size is not changed.
        head, tail = message[:16], self.scrambled(message[16:], 0)
        return head + tail

    def test_a_worker_answers_or_exits(self):
        spawner = Spawner()
        self.addCleanup(spawner.close)
        n_answers, n_ends, worker = {}, 0, None
        for _ in range(N_FUZZED):
            worker = worker or spawner.spawn()
            fds = self.chance.choices(self.things + self.things[:1] * 16 + self.things[1:2] * 8,
                                      k=self.chance.choice((0, 1, 1, 1, 1, 2)))
            try:
                worker.send(self.worker_message(), fds)
                answer = worker.receive()
            except BrokenPipeError:
                answer = None
            if answer is None:
                state = worker.exit_status()
                self.assertTrue(os.WIFEXITED(state) and os.WEXITSTATUS(state) == 1, state)
                worker.close()
                worker, n_ends = None, n_ends + 1
                continue
            (_, error, count), got = answer
            self.assertEqual(len(got), count if error == 0 else 0)
            vmtest.close_fds(got)
            n_answers[error] = n_answers.get(error, 0) + 1
        print("# answers by error:", n_answers, "ends:", n_ends)
        self.assertGreater(n_answers[0], 10)
        self.assertGreater(n_ends, 30)
        if worker:
            worker.socket.close()
            self.assertEqual(worker.exit_status(), 0)
            os.close(worker.pidfd)

    def test_a_worker_answers_all_that_a_slow_daemon_has_asked(self):
        """The daemon does not read until the socket is full of requests and replies."""
        spawner = Spawner()
        self.addCleanup(spawner.close)
        worker = spawner.spawn()
        worker.socket.settimeout(0.5)
        sent = 0
        try:
            while sent < 100000:
                worker.send(WORKER_REQUEST.pack(sent, PAGE, 1, 0, b""), [self.device])
                sent += 1
        except TimeoutError:
            pass
        print("# unread requests:", sent)
        worker.socket.settimeout(DEADLINE)
        for number in range(sent):
            answer, fds = worker.receive()
            vmtest.close_fds(fds)
            self.assertEqual(answer, (number, 0, 1))
        worker.socket.close()
        self.assertEqual(worker.exit_status(), 0)
        os.close(worker.pidfd)

    def test_the_spawner_answers_or_exits(self):
        n_answers, n_ends, spawner = {}, 0, None
        for _ in range(N_FUZZED // 3):
            spawner = spawner or Spawner()
            sound, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            fds = [self.chance.choice(self.things + [self.things[4]] * 4),
                   self.chance.choice(self.things + [other.fileno()] * 4)]
            if self.chance.random() < 0.2:
                fds = self.chance.choices(self.things, k=self.chance.randint(0, 5))
            answer = spawner.spawn_raw(self.scrambled(SPAWN_REQUEST.pack(self.chance.getrandbits(64)), 0.8), fds)
            sound.close()
            other.close()
            if answer is None:
                state = spawner.close()
                self.assertTrue(os.WIFEXITED(state) and os.WEXITSTATUS(state) == 1, state)
                spawner, n_ends = None, n_ends + 1
                continue
            (_, error, pid), got = answer
            self.assertEqual((error == 0, pid > 0), (len(got) == 1, len(got) == 1))
            vmtest.close_fds(got)
            n_answers[error] = n_answers.get(error, 0) + 1
        print("# answers by error:", n_answers, "ends:", n_ends)
        self.assertGreater(n_answers[0], 5)
        self.assertGreater(n_ends, 5)
        if spawner:
            self.assertEqual(spawner.close(), 0)


if __name__ == "__main__":
    vmtest.main()
