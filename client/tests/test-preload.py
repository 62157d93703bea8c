#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The preload library against a fake daemon: test-preload.py PRELOAD-LIBRARY FAKE-DAEMON

The tests run in this file started again with 'inside' and the library in LD_PRELOAD. They call Python's own open,
ioctl, listdir and stat, which end in the C library, and a few functions through ctypes."""
import ctypes
import errno
import fcntl
import mmap
import os
import stat
import struct
import subprocess
import sys
import threading

from fakedaemon import fake_daemon

ALLOC = 0xC0184800  # _IOWR('H', 0, struct dma_heap_allocation_data)
HEAP = "/dev/dma_heap/"


def allocate(heap_fd, size=5000, fd=0, fd_flags=os.O_RDWR | os.O_CLOEXEC, heap_flags=0):
    """DMA_HEAP_IOCTL_ALLOC. Returns the buffer's fd."""
    data = bytearray(struct.pack("=QIIQ", size, fd, fd_flags, heap_flags))
    fcntl.ioctl(heap_fd, ALLOC, data)
    return struct.unpack("=QIIQ", data)[1]


def fails(number, function, *arguments, **named):
    """The function raises OSError with this errno."""
    try:
        function(*arguments, **named)
    except OSError as e:
        assert e.errno == number, (errno.errorcode[e.errno], errno.errorcode[number])
    else:
        raise AssertionError(f"succeeded instead of {errno.errorcode[number]}")


def check_buffer(fd):
    """fd is a buffer of the fake daemon, of the default size of allocate() in whole pages. Closes it."""
    assert os.fstat(fd).st_size == 8192 and os.readlink(f"/proc/self/fd/{fd}").startswith("/memfd:buffer")
    os.close(fd)


def opening():
    """Heaps open by absolute paths and relative to their directory, with the errors of real device nodes."""
    fd = os.open(HEAP + "system", os.O_RDWR | os.O_CLOEXEC)
    check_buffer(allocate(fd))
    os.close(fd)
    fd = os.open("//dev/./dma_heap//default_cma_region", os.O_RDONLY)
    check_buffer(allocate(fd, fd_flags=0))
    assert not os.get_inheritable(fd)  # Python adds O_CLOEXEC to every open
    os.close(fd)

    fails(errno.ENOENT, os.open, HEAP + "nosuch", os.O_RDWR)
    fails(errno.ENOENT, os.open, HEAP + "bad", os.O_RDWR)
    fails(errno.ENOENT, os.open, HEAP + "x" * 65, os.O_RDWR)
    fails(errno.ENOTDIR, os.open, HEAP + "system", os.O_RDWR | os.O_DIRECTORY)
    directory = os.open(HEAP, os.O_RDONLY | os.O_DIRECTORY)
    fd = os.open("system", os.O_RDWR, dir_fd=directory)
    check_buffer(allocate(fd))
    assert stat.S_ISCHR(os.stat("system", dir_fd=directory).st_mode)
    assert sorted(os.listdir(directory)) == ["default_cma_region", "system"]
    os.close(directory)
    os.close(fd)


def allocating():
    """The ioctl heeds O_CLOEXEC, and refuses the arguments that the kernel refuses."""
    fd = os.open(HEAP + "system", os.O_RDWR)
    for flags in (os.O_RDWR, os.O_RDWR | os.O_CLOEXEC):
        buffer = allocate(fd, fd_flags=flags)
        assert bool(fcntl.fcntl(buffer, fcntl.F_GETFD) & fcntl.FD_CLOEXEC) == bool(flags & os.O_CLOEXEC)
        os.close(buffer)
    fails(errno.EINVAL, allocate, fd, size=0)
    fails(errno.EINVAL, allocate, fd, fd=7)
    fails(errno.EINVAL, allocate, fd, fd_flags=os.O_NONBLOCK)
    fails(errno.EINVAL, allocate, fd, heap_flags=1)
    fails(errno.ENOTTY, fcntl.ioctl, fd, 0x5401, bytearray(64))
    os.close(fd)

    # On an fd that is not a heap, the ioctl is the real one.
    with open(__file__) as other:
        fails(errno.ENOTTY, allocate, other.fileno())


def read_only():
    """O_RDONLY in fd_flags asks the daemon for readOnly: the buffer cannot be mapped writable."""
    fd = os.open(HEAP + "system", os.O_RDWR)
    for flags, writable in ((os.O_RDONLY, False), (os.O_RDONLY | os.O_CLOEXEC, False),
                            (os.O_RDWR, True), (os.O_WRONLY, True)):
        buffer = allocate(fd, fd_flags=flags)
        assert (fcntl.fcntl(buffer, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY) != writable, oct(flags)
        mmap.mmap(buffer, 8192, prot=mmap.PROT_READ).close()
        if writable:
            mmap.mmap(buffer, 8192).close()
        else:
            fails(errno.EACCES, mmap.mmap, buffer, 8192)
        os.close(buffer)
    os.close(fd)


def errors():
    """Every error of the interface becomes an errno that the kernel's ioctl can give."""
    for heap, number in (("QuotaExceeded", errno.ENOMEM), ("OutOfMemory", errno.ENOMEM),
                         ("OutOfResources", errno.ENOMEM), ("TimedOut", errno.ENOMEM),
                         ("NoSuchHeap", errno.ENODEV), ("HeapUnavailable", errno.ENODEV),
                         ("org.varlink.service.PermissionDenied", errno.EACCES),
                         ("org.varlink.service.InvalidParameter", errno.ENOMEM)):
        # The fake daemon does not list these heaps, so open() would fail: make the node that it would give.
        fd = os.memfd_create("x", os.MFD_ALLOW_SEALING)
        os.write(fd, b"libdmaheap-preload 1".ljust(24, b"\0") + f"error-{heap}".encode().ljust(65, b"\0"))
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 15)
        fails(number, allocate, fd)
        os.close(fd)
    fd = os.open(HEAP + "system", os.O_RDWR)
    address = os.environ["DMAHEAP_ADDRESS"]
    os.environ["DMAHEAP_ADDRESS"] = "/nonexistent"
    fails(errno.EIO, allocate, fd)
    os.environ["DMAHEAP_ADDRESS"] = address
    os.close(fd)


def looking():
    """stat(), access() and the directory show the heaps that the daemon serves, and nothing else changes."""
    assert sorted(os.listdir("/dev/dma_heap")) == ["default_cma_region", "system"]
    with os.scandir("/dev/dma_heap") as entries:
        assert all(not e.is_dir(follow_symlinks=False) for e in entries)
    st = os.stat(HEAP + "system")
    assert stat.S_ISCHR(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o666
    assert stat.S_ISCHR(os.lstat(HEAP + "system").st_mode)
    assert stat.S_ISDIR(os.stat("/dev/dma_heap").st_mode)
    fails(errno.ENOENT, os.stat, HEAP + "nosuch")
    assert os.access(HEAP + "system", os.R_OK | os.W_OK) and not os.access(HEAP + "system", os.X_OK)
    assert os.access("/dev/dma_heap", os.R_OK | os.X_OK) and not os.access(HEAP + "nosuch", os.F_OK)
    fd = os.open(HEAP + "system", os.O_RDWR)
    assert stat.S_ISCHR(os.fstat(fd).st_mode)
    os.close(fd)

    libc = ctypes.CDLL(None, use_errno=True)
    entries = ctypes.c_void_p()
    assert libc.scandir(b"/dev/dma_heap", ctypes.byref(entries), None, libc.alphasort) == 4

    # Paths outside /dev/dma_heap behave as without the library.
    assert "passwd" in os.listdir("/etc") and stat.S_ISREG(os.stat("/etc/passwd").st_mode)
    assert os.listdir("/dev/pts") is not None
    fails(errno.ENOENT, os.listdir, "/dev/dma_heap_")
    fails(errno.ENOENT, os.open, "/dev/dma_heapx/system", os.O_RDWR)


def surviving():
    """An opened heap survives dup(), fork(), exec() and threads, and close_range() closes it."""
    fd = os.open(HEAP + "system", os.O_RDWR)
    copy = os.dup(fd)
    os.close(fd)
    check_buffer(allocate(copy))
    os.dup2(copy, 200, inheritable=True)

    pid = os.fork()
    if pid == 0:
        check_buffer(allocate(200))
        os.closerange(3, 300)  # close_range(2)
        fails(errno.EBADF, allocate, 200)
        check_buffer(allocate(os.open(HEAP + "system", os.O_RDWR)))
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0

    subprocess.run([sys.executable, __file__, "inherited"], check=True, close_fds=False)
    os.close(200)

    problems = []

    def work():
        try:
            for _ in range(5):
                mine = os.open(HEAP + "system", os.O_RDWR)
                check_buffer(allocate(mine))
                os.close(mine)
                assert len(os.listdir("/dev/dma_heap")) == 2
        except BaseException as e:
            problems.append(e)

    threads = [threading.Thread(target=work) for _ in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not problems, problems


def without_daemon():
    """Without a daemon, paths behave as without the library."""
    real = os.path.exists("/dev/dma_heap")
    if not real:
        fails(errno.ENOENT, os.listdir, "/dev/dma_heap")
        fails(errno.ENOENT, os.stat, "/dev/dma_heap")
    fails(errno.ENOENT, os.open, HEAP + "nosuch", os.O_RDWR)


def main():
    if sys.argv[1] == "inside":
        n_fds = len(os.listdir("/proc/self/fd"))
        for test in (opening, allocating, read_only, errors, looking, surviving):
            test()
        assert len(os.listdir("/proc/self/fd")) == n_fds + 1  # 'copy' of surviving()
        return
    if sys.argv[1] == "inherited":
        check_buffer(allocate(200))
        return
    if sys.argv[1] == "without-daemon":
        without_daemon()
        return

    library, fake = sys.argv[1:]
    with fake_daemon(fake) as (daemon, address):
        environment = {**os.environ, "LD_PRELOAD": os.path.abspath(library), "DMAHEAP_ADDRESS": address}
        subprocess.run([sys.executable, __file__, "inside"], check=True, env=environment)
        listing = subprocess.run(["ls", "-l", "/dev/dma_heap/"], check=True, env=environment, stdout=subprocess.PIPE)
        assert listing.stdout.count(b"crw-rw-rw-") == 2, listing.stdout
        daemon.kill()
        daemon.wait()
        subprocess.run([sys.executable, __file__, "without-daemon"], check=True, env=environment)


main()
