#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A fake dmaheapd for the client tests: fake-daemon.py SOCKET

Speaks io.dmaheapd.Allocator on SOCKET and prints 'ready' when it listens. It exits when its standard input ends, so
that it never outlives the test that started it.

Buffers are memfds that begin with their id, 8 bytes in native order. They are named after the label, 'buffer' without
one, and opened for reading only if the access is readOnly. The heap's name in Allocate selects the answer:

error-NAME  the error NAME, of the interface if NAME has no dot
weird       an error that no interface defines
vanish      none: the connection is closed
hang        none: the connection stays open
slow        the buffers, after 200 ms
junk        bytes that are not JSON
short       one file descriptor fewer than buffers
twice       two buffers that share a file descriptor
reversed    the buffers, with their file descriptors in the opposite order
lying       an error with file descriptors
others      the buffers
"""
import itertools
import json
import os
import socket
import sys
import threading
import time

INTERFACE = "io.dmaheapd.Allocator."
PAGE = 4096

ids = itertools.count(1000)
used = itertools.count(1)

ERRORS = {
    "NoSuchHeap": {"heap": "error-NoSuchHeap", "role": None},
    "HeapUnavailable": {"heap": "error-HeapUnavailable", "reason": "no module provides it"},
    "QuotaExceeded": {"scope": "cgroup", "name": "/user.slice", "resource": "bytes", "limit": 1 << 30, "used": 1 << 29,
                      "requested": 3 << 29},
    "OutOfMemory": {"heap": "error-OutOfMemory"},
    "OutOfResources": {"resource": "processes"},
    "TimedOut": {"heap": "error-TimedOut"},
    "org.varlink.service.InvalidParameter": {"parameter": "size"},
    "org.varlink.service.PermissionDenied": {},
    "org.varlink.service.MethodNotFound": {"method": INTERFACE + "Allocate"},
    "org.varlink.service.MethodNotImplemented": {"method": INTERFACE + "Allocate"},
    "org.varlink.service.InterfaceNotFound": {"interface": "io.dmaheapd.Allocator"},
}

USAGE = {"bytesUsed": 1 << 20, "bytesMax": 1 << 30, "buffersUsed": 3, "buffersMax": None}
HEAP_USAGE = [{"heap": "system", "bytesUsed": 1 << 20, "bytesMax": None}]
FIXED = {
    "org.varlink.service.GetInfo": {
        "vendor": "nobody", "product": "fake (buffers counted by hand)", "version": "7", "url": "",
        "interfaces": ["org.varlink.service", "io.dmaheapd.Allocator"],
    },
    "GetUsage": {
        "client": USAGE, "user": {**USAGE, "bytesMax": None}, "heaps": HEAP_USAGE, "cgroupHeadroom": 5 << 20,
    },
    "ListClients": {"clients": [{
        "unit": None, "cgroup": "/a", "uid": 1000, "user": 1001, "connections": 2, "usage": USAGE, "heaps": HEAP_USAGE,
    }]},
    "ListBuffers": {"buffers": [{
        "id": 7, "size": PAGE, "heap": "system", "label": "x", "unit": "a.service", "cgroup": "/a", "uid": 1000,
        "user": 1001, "allocatedUSec": 123,
    }]},
}

# A buffer whose cgroup's name would change the colour of a terminal.
ESCAPE = {"buffers": [{**FIXED["ListBuffers"]["buffers"][0], "unit": None, "cgroup": "/\x1b[31mred"}]}


def heaps(system_used):
    """The parameters of ListHeaps: a heap in each state, and one with words and fields that no client knows."""
    return {"heaps": [
        {"name": "system", "state": "ready", "roles": ["system"], "accounting": "kernel", "used": system_used,
         "size": None},
        {"name": "default_cma_region", "state": "loadable", "roles": ["contiguous", "x"], "module": "cma_heap",
         "accounting": "daemon", "region": "reserved", "size": 64 << 20, "used": 0},
        {"name": "bad", "state": "failed", "reason": "No such device", "roles": [], "accounting": "daemon", "used": 0},
        {"name": "new", "state": "dreaming", "roles": [], "accounting": "moon", "used": 0, "extra": [1]},
    ]}


def send(connection, message, fds=()):
    """Sends one varlink message with file descriptors."""
    data = json.dumps(message).encode() + b"\0"
    if fds:
        socket.send_fds(connection, [data], fds)
    else:
        connection.sendall(data)


def create_buffer(buffer_id, size, label, read_only):
    """Returns the fd of a new memfd; opened for reading only if read_only."""
    fd = os.memfd_create(label or "buffer")
    os.ftruncate(fd, size)
    os.pwrite(fd, buffer_id.to_bytes(8, sys.byteorder), 0)
    if not read_only:
        return fd
    read_only_fd = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
    os.close(fd)
    return read_only_fd


def allocate(connection, p):
    """Answers an Allocate. False: the connection is to be closed."""
    heap = p.get("heap") or p.get("role") or "system"
    count = p.get("count") or 1
    size = (p["size"] + PAGE - 1) // PAGE * PAGE

    if heap == "vanish":
        return False
    if heap == "hang":
        threading.Event().wait()
    if heap == "slow":
        time.sleep(0.2)
    if heap == "junk":
        connection.sendall(b"{]\0")
        return True
    if heap == "weird":
        send(connection, {"error": "com.example.Weird", "parameters": {"x": 1}})
        return True
    if heap.startswith("error-"):
        name = heap[len("error-"):]
        full = name if "." in name else INTERFACE + name
        send(connection, {"error": full, "parameters": ERRORS[name]})
        return True

    buffers = [{"fileDescriptor": i, "id": next(ids), "size": size} for i in range(count)]
    fds = [create_buffer(b["id"], size, p.get("label"), p.get("access") == "readOnly") for b in buffers]
    reply = {"parameters": {"heap": heap, "buffers": buffers}}
    if heap == "twice":
        buffers.append(dict(buffers[0]))
    if heap == "reversed":
        fds.reverse()
        for b in buffers:
            b["fileDescriptor"] = count - 1 - b["fileDescriptor"]
    if heap == "lying":
        reply = {"error": INTERFACE + "OutOfMemory", "parameters": {"heap": heap}}
    send(connection, reply, fds[1:] if heap == "short" else fds)
    for fd in fds:
        os.close(fd)
    return True


def answer(connection, call):
    """Answers a call. False: the connection is to be closed."""
    method = call["method"].removeprefix(INTERFACE)
    p = call.get("parameters", {})
    if method == "Allocate":
        return allocate(connection, p)
    if method == "ListHeaps" and call.get("more"):
        for _ in range(3):
            send(connection, {"parameters": heaps(next(used) * PAGE), "continues": True})
            time.sleep(0.02)
        return False
    if method == "ListHeaps":
        send(connection, {"parameters": heaps(0)})
    elif method == "ListBuffers" and p.get("unit") == "escape.service":
        send(connection, {"parameters": ESCAPE})
    elif method == "ListBuffers" and p.get("unit") not in (None, "a.service"):
        send(connection, {"parameters": {"buffers": []}})
    elif method in FIXED:
        send(connection, {"parameters": FIXED[method]})
    else:
        send(connection, {"error": "org.varlink.service.MethodNotFound", "parameters": {"method": call["method"]}})
    return True


def serve(connection):
    """Answers the calls of a connection until it ends."""
    buffer = b""
    try:
        while data := connection.recv(65536):
            buffer += data
            while b"\0" in buffer:
                message, buffer = buffer.split(b"\0", 1)
                if not answer(connection, json.loads(message)):
                    return
    except OSError:
        pass
    finally:
        connection.close()


def exit_with_test():
    """Exits at the end of standard input, whose write end the kernel closes when the test dies."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os._exit(0)  # pylint: disable=protected-access


def main():
    threading.Thread(target=exit_with_test, daemon=True).start()
    path = sys.argv[1]
    if os.path.lexists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(256)
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
