/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <sys/types.h>

#include "macro.h"

/* Closes fd unless it is unset (negative) and returns -EBADF, for `fd = safe_close(fd)`. Leaves errno alone. */
int safe_close(int fd);

static inline void closep(int *fd) {
        safe_close(*fd);
}
#define _cleanup_close_ _cleanup_(closep)

/* Closes every descriptor of an array; the array itself stays the caller's. */
void close_many(const int *fds, size_t n_fds);

/* Writes, or reads, all of it at an offset of a file. -ENODATA when the file ends before. */
int pwrite_all(int fd, const void *data, size_t size, off_t offset);
int pread_all(int fd, void *data, size_t size, off_t offset);

/* Reads a small file whole (procfs, sysfs, cgroupfs) into a NUL-terminated string owned by the caller.
 *
 * dir_fd: directory that path is relative to, or AT_FDCWD. max: the most bytes accepted, else -E2BIG.
 * Returns the length, or -errno. */
ssize_t read_file_at(int dir_fd, const char *path, size_t max, char **ret);

/* An unsigned decimal number, with a newline or without. -EINVAL for anything else, -ERANGE. */
int parse_u64(const char *text, uint64_t *ret);

/* read_file_at() of a file that holds one unsigned decimal number. -EINVAL when it holds anything else. */
int read_u64_at(int dir_fd, const char *path, uint64_t *ret);

/* The path behind an fd by /proc/self/fd. Fails with -ENOENT when what it pointed to was removed. */
int fd_get_path(int fd, char **ret);

/* The most descriptors one SCM_RIGHTS message carries (SCM_MAX_FD of the kernel's include/net/scm.h). */
#define FDS_PER_MESSAGE_MAX 253U

/* Sends one message of a SOCK_SEQPACKET socket with n_fds descriptors, which stay the caller's. No SIGPIPE.
 * Returns 0, or -errno: -EAGAIN when the queue is full, -EPIPE or -ECONNRESET when the peer is gone. */
int send_message(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds, int flags);

/* Receives one message that must be exactly `size` bytes and carry at most `fds_max` descriptors.
 *
 * fds: room for fds_max; what arrived is the caller's to close. ret_n_fds may be NULL only when fds_max is 0.
 * Returns 1 when a message was received, 0 at the end of file, or -errno: -EBADMSG when the message has another size or
 * too many descriptors, -EMFILE when this process may not have as many (none is kept then), -EAGAIN when there is none. */
int receive_message(int socket_fd, void *data, size_t size, int *fds, size_t fds_max, size_t *ret_n_fds, int flags);
