/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <sys/types.h>

#include "util/macro.h"

/* Closes fd unless it is unset (negative) and returns -EBADF, for `fd = safe_close(fd)`. Leaves errno alone. */
int safe_close(int fd);

static inline void closep(int *fd) {
        safe_close(*fd);
}
#define _cleanup_close_ _cleanup_(closep)

/* Closes every descriptor of an array but those that are unset (negative). Leaves the array as it is. */
void close_many(const int *fds, size_t n_fds);

/* Write, or read, size bytes at an offset of a file. Return 0, or -errno; pread_all() returns -ENODATA when the file
 * ends before. */
int pwrite_all(int fd, const void *data, size_t size, off_t offset);
int pread_all(int fd, void *data, size_t size, off_t offset);

/* Reads a whole small file (of procfs, sysfs or cgroupfs) into a string with a NUL at its end, which is the caller's to
 * free.
 *
 * dir_fd: the directory that path is relative to, or AT_FDCWD. max: the most bytes; -E2BIG if the file is longer.
 * Returns the length without the NUL, or -errno. */
ssize_t read_file_at(int dir_fd, const char *path, size_t max, char **ret);

/* Parses an unsigned decimal number, which a newline may follow. Returns 0, -EINVAL for anything else, or -ERANGE. */
int parse_u64(const char *text, uint64_t *ret);

/* Reads a file that holds one number, as parse_u64() parses it. Returns
 * 0, or -errno of read_file_at() or parse_u64(). */
int read_u64_at(int dir_fd, const char *path, uint64_t *ret);

/* Finds the path of an open file or directory by /proc/self/fd; the string is the caller's to free. Returns 0, -ENOENT
 * if it was removed, -ENAMETOOLONG, or another -errno. */
int fd_get_path(int fd, char **ret);

/* The most descriptors one SCM_RIGHTS message carries (SCM_MAX_FD of the kernel's include/net/scm.h). */
#define FDS_PER_MESSAGE_MAX 253U

/* Sends one message over a SOCK_SEQPACKET socket with n_fds descriptors, which stay the caller's. Raises no SIGPIPE.
 * flags: those of sendmsg(2). Returns 0, or -errno: -E2BIG for more than FDS_PER_MESSAGE_MAX, -EAGAIN when the queue is
 * full and flags have MSG_DONTWAIT, -EPIPE or -ECONNRESET when the peer is gone. */
int send_message(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds, int flags);

/* Receives one message that must have exactly `size` bytes and at most `fds_max` descriptors.
 *
 * fds: room for fds_max; the descriptors that arrived become the caller's. ret_n_fds may be NULL only when fds_max is
 * 0. Returns 1 when a message was received; 0 at the end of file; or -errno, and no descriptor is kept: -EBADMSG when
 * the message has another size or too many descriptors, -EMFILE when this process may not have as many, -EAGAIN when
 * there is none and flags have MSG_DONTWAIT. On -errno the contents of `data` are undefined. */
int receive_message(int socket_fd, void *data, size_t size, int *fds, size_t fds_max, size_t *ret_n_fds, int flags);
