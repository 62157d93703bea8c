#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Stands in for dmaheapd-spawner. Its workers read the file LIE for each request, and do what it says.

That is "honest", one of LIES, or "fuzz SEED". The first line names python3 directly, because the tests look for the
process by its name."""

import fcntl
import os
import random
import signal
import socket
import struct
import sys

LIE = "/run/test-lie"
PAGE = 4096
SPAWN_REQUEST = struct.Struct("=Q")
SPAWN_REPLY = struct.Struct("=Qii")
REQUEST = struct.Struct("=QQII32s")
REPLY = struct.Struct("=QiI")


def allocate(device, size):
    data = bytearray(struct.pack("=QIIQ", size, 0, os.O_RDWR | os.O_CLOEXEC, 0))
    fcntl.ioctl(device, 0xC0184800, data)
    return struct.unpack_from("=I", data, 8)[0]


def regular_file(size):
    fd = os.memfd_create("no dma-buf")
    os.ftruncate(fd, size)
    return fd


def truth(number, buffers):
    return REPLY.pack(number, 0, len(buffers)), buffers


# What a worker sends instead of the true reply: messages, each with its descriptors.
LIES = {
    "wrong count, less": lambda number, size, buffers, device: [(REPLY.pack(number, 0, len(buffers) - 1), buffers)],
    "wrong count, more": lambda number, size, buffers, device: [(REPLY.pack(number, 0, len(buffers) + 1), buffers)],
    "wrong count, most": lambda number, size, buffers, device: [(REPLY.pack(number, 0, (1 << 32) - 1), buffers)],
    "one missing": lambda number, size, buffers, device: [(REPLY.pack(number, 0, len(buffers)), buffers[1:])],
    "none": lambda number, size, buffers, device: [(REPLY.pack(number, 0, len(buffers)), [])],
    "one more": lambda number, size, buffers, device: [(REPLY.pack(number, 0, len(buffers)),
                                                        buffers + [allocate(device, size)])],
    "all that a message holds": lambda number, size, buffers, device: [
        (REPLY.pack(number, 0, len(buffers)), buffers + [allocate(device, size) for _ in range(253 - len(buffers))])],
    "a regular file": lambda number, size, buffers, device: [truth(number, buffers[1:] + [regular_file(size)])],
    "a directory": lambda number, size, buffers, device: [truth(number, buffers[1:] + [os.open("/", os.O_RDONLY)])],
    "a file without a place": lambda number, size, buffers, device: [
        truth(number, buffers[1:] + [os.open("/", os.O_PATH)])],
    "a socket": lambda number, size, buffers, device: [truth(number, buffers[1:] + [os.dup(3)])],
    "the device": lambda number, size, buffers, device: [truth(number, buffers[1:] + [device])],
    "too small": lambda number, size, buffers, device: [truth(number, buffers[1:] + [allocate(device, size - PAGE)])],
    "too large": lambda number, size, buffers, device: [truth(number, buffers[1:] + [allocate(device, size + PAGE)])],
    "one twice": lambda number, size, buffers, device: [truth(number, buffers[1:] + [buffers[1]])],
    "another number": lambda number, size, buffers, device: [truth(number + 1, buffers)],
    "an error, with buffers": lambda number, size, buffers, device: [(REPLY.pack(number, -12, 0), buffers)],
    "an error above 0": lambda number, size, buffers, device: [(REPLY.pack(number, 12, 0), [])],
    "an error that is no errno": lambda number, size, buffers, device: [(REPLY.pack(number, -(1 << 31), 0), [])],
    "too short": lambda number, size, buffers, device: [(truth(number, buffers)[0][:-1], buffers)],
    "too long": lambda number, size, buffers, device: [(truth(number, buffers)[0] + b"\0", buffers)],
    "nothing, with buffers": lambda number, size, buffers, device: [(b"", buffers)],
    "the end": lambda number, size, buffers, device: [],
}


def fuzzed(chance, number, size, buffers, device):
    """Random messages that are not far from true ones."""
    kinds = [lambda: regular_file(size), lambda: allocate(device, size), lambda: allocate(device, size * 2),
             lambda: os.dup(device), lambda: os.open("/", os.O_PATH), lambda: chance.choice(buffers),
             lambda: os.open("/etc/passwd", os.O_RDONLY), lambda: os.eventfd(0)]
    if chance.random() < 0.3:
        yield truth(number, buffers)
    for _ in range(chance.randint(0, 4)):
        message = bytearray(REPLY.pack(number + chance.choice((0, 0, 0, 1, -1)),
                                       chance.choice((0, 0, 0, -12, 1, -(1 << 30))),
                                       chance.choice((len(buffers), len(buffers), 0, 253, 254, 1 << 31))))
        for _ in range(chance.choice((0, 0, 0, 1, 5))):
            message[chance.randrange(len(message))] = chance.randrange(256)
        message = bytes(message[:chance.choice((len(message), len(message), len(message), chance.randint(0, 16)))])
        message += bytes(chance.choice((0, 0, 0, 1, 100)))
        fds = chance.choice((buffers, buffers, [], buffers[1:],
                             [make() for make in chance.choices(kinds, k=chance.randint(1, 6))]))
        yield message, fds


def work(sock):
    last = []
    while True:
        data, fds, _, _ = socket.recv_fds(sock, REQUEST.size, 1)
        if not data:
            return
        number, size, count, _, _ = REQUEST.unpack(data)
        (device,) = fds
        with open(LIE, encoding="ascii") as file:
            lie = file.read()
        buffers = [allocate(device, size) for _ in range(count)]
        if lie == "honest" or lie == "one it has given before" and len(last) != count:
            socket.send_fds(sock, *wrapped(truth(number, buffers)))
            last = buffers
            os.close(device)
            continue
        if lie == "one it has given before":
            socket.send_fds(sock, *wrapped(truth(number, last)))
        elif lie == "twice":
            for _ in range(2):
                socket.send_fds(sock, *wrapped(truth(number, buffers)))
        elif lie.startswith("fuzz "):
            chance = random.Random(int(lie.split()[1]))
            n_sent = 0
            for message in fuzzed(chance, number, size, buffers, device):
                socket.send_fds(sock, *wrapped(message))
                n_sent += 1
            if n_sent == 0 or chance.random() < 0.5:  # without any reply the daemon would wait until its timeout
                return
            for fd in buffers:
                os.close(fd)
            os.close(device)
            continue
        else:
            for message in LIES[lie](number, size, buffers, device):
                socket.send_fds(sock, *wrapped(message))
        return


def wrapped(message):
    return [message[0]], message[1]


def main():
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    daemon = socket.socket(fileno=3)
    while True:
        data, fds, _, _ = socket.recv_fds(daemon, SPAWN_REQUEST.size, 2)
        if not data:
            return
        (number,) = SPAWN_REQUEST.unpack(data)
        pid = os.fork()
        if pid == 0:
            status = 1
            with open("/proc/self/comm", "w", encoding="ascii") as file:
                file.write("liar")
            try:
                work(socket.socket(fileno=fds[1]))
                status = 0
            except OSError:  # the daemon has killed the worker for its first lie
                pass
            finally:
                os._exit(status)
        pidfd = os.pidfd_open(pid)
        socket.send_fds(daemon, [SPAWN_REPLY.pack(number, 0, pid)], [pidfd])
        for fd in (*fds, pidfd):
            os.close(fd)


if __name__ == "__main__":
    sys.exit(main())
