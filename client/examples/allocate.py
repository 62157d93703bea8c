#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
# Allocates a dma-buf without a library: a varlink message is JSON and a zero byte, with file descriptors as SCM_RIGHTS.
import json, mmap, os, socket, sys

connection = socket.socket(socket.AF_UNIX)
connection.connect(os.environ.get("DMAHEAP_ADDRESS", "/run/dmaheapd/io.dmaheapd.Allocator"))
call = {"method": "io.dmaheapd.Allocator.Allocate", "parameters": {"role": "system", "size": 1 << 20}}
connection.sendall(json.dumps(call).encode() + b"\0")

data, fds = b"", []
while not data.endswith(b"\0"):
    more, more_fds, flags, address = socket.recv_fds(connection, 65536, 253)
    data, fds = data + more, fds + more_fds
    if not more:
        sys.exit("the daemon went away")
reply = json.loads(data[:-1])
if "error" in reply:
    sys.exit(f"{reply['error']}: {reply['parameters']}")

buffer = reply["parameters"]["buffers"][0]
memory = mmap.mmap(fds[buffer["fileDescriptor"]], buffer["size"])
memory[0:5] = b"hello"
print("buffer", buffer["id"], "of", buffer["size"], "bytes from heap", reply["parameters"]["heap"])
