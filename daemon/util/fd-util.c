/* SPDX-License-Identifier: GPL-2.0-only */

/* Handles descriptors, small files and messages over sockets. The invariant: a descriptor that a function received and
 * does not return is closed, and each one that it returns is close-on-exec. */

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "util/fd-util.h"

int safe_close(int fd) {
        if (fd >= 0) {
                int saved_errno = errno;

                (void) close(fd);
                errno = saved_errno;
        }

        return -EBADF;
}

void close_many(const int *fds, size_t n_fds) {
        for (size_t i = 0; i < n_fds; i++)
                safe_close(fds[i]);
}

int pwrite_all(int fd, const void *data, size_t size, off_t offset) {
        const char *p = data;

        while (size > 0) {
                ssize_t n = pwrite(fd, p, size, offset);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }

                p += n;
                size -= n;
                offset += n;
        }

        return 0;
}

int pread_all(int fd, void *data, size_t size, off_t offset) {
        char *p = data;

        while (size > 0) {
                ssize_t n = pread(fd, p, size, offset);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        return -ENODATA;

                p += n;
                size -= n;
                offset += n;
        }

        return 0;
}

ssize_t read_file_at(int dir_fd, const char *path, size_t max, char **ret) {
        _cleanup_close_ int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return -errno;

        size_t size = 0, room = 4096;
        _cleanup_free_ char *text = malloc(room);
        if (!text)
                return -ENOMEM;

        for (;;) {
                if (room - size < 2) { /* the text, and a NUL behind it */
                        char *larger = realloc(text, room * 2);
                        if (!larger)
                                return -ENOMEM;

                        text = larger;
                        room *= 2;
                }

                ssize_t n = read(fd, text + size, room - size - 1);
                if (n < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        break;

                size += n;
                if (size > max)
                        return -E2BIG;
        }

        text[size] = 0;
        *ret = TAKE_PTR(text);
        return size;
}

int parse_u64(const char *text, uint64_t *ret) {
        /* strtoull() takes white space and signs; the kernel's numbers have neither. */
        if (text[0] < '0' || text[0] > '9')
                return -EINVAL;

        char *end;
        errno = 0;
        unsigned long long value = strtoull(text, &end, 10);
        if (errno > 0)
                return -errno;
        if (*end == '\n')
                end++;
        if (*end != 0)
                return -EINVAL;

        *ret = value;
        return 0;
}

int read_u64_at(int dir_fd, const char *path, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;
        ssize_t n = read_file_at(dir_fd, path, 64, &text);

        return n < 0 ? (int) n : parse_u64(text, ret);
}

int fd_get_path(int fd, char **ret) {
        char link[sizeof("/proc/self/fd/") + 11], path[PATH_MAX];

        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);

        ssize_t n = readlink(link, path, sizeof(path));
        if (n < 0)
                return -errno;
        if ((size_t) n >= sizeof(path))
                return -ENAMETOOLONG;
        path[n] = 0;

        struct stat st;
        if (fstat(fd, &st) < 0)
                return -errno;

        /* The kernel appends this to the path of what was removed; but the name of a directory may end so, too. */
        static const char deleted[] = " (deleted)";
        if ((size_t) n > strlen(deleted) && streq(path + n - strlen(deleted), deleted)) {
                struct stat now;

                if (stat(path, &now) < 0 || now.st_ino != st.st_ino || now.st_dev != st.st_dev)
                        return -ENOENT;
        }

        char *copy = strdup(path);
        if (!copy)
                return -ENOMEM;

        *ret = copy;
        return 0;
}

typedef union {
        struct cmsghdr header;
        char buffer[CMSG_SPACE(sizeof(int) * FDS_PER_MESSAGE_MAX)];
} ControlBuffer;

int send_message(int socket_fd, const void *data, size_t size, const int *fds, size_t n_fds, int flags) {
        struct iovec iov = { .iov_base = (void *) data, .iov_len = size };
        struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
        ControlBuffer control;

        if (n_fds > FDS_PER_MESSAGE_MAX)
                return -E2BIG;

        if (n_fds > 0) {
                message.msg_control = &control;
                message.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                memset(&control, 0, message.msg_controllen);

                struct cmsghdr *header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(header), fds, sizeof(int) * n_fds);
        }

        for (;;) {
                if (sendmsg(socket_fd, &message, flags | MSG_NOSIGNAL) >= 0)
                        return 0;
                if (errno != EINTR)
                        return -errno;
        }
}

/* Moves the descriptors of a message to fds. Those beyond fds_max are
 * closed, and *ret_surplus is set. Returns how many. */
static size_t take_fds(struct msghdr *message, int *fds, size_t fds_max, bool *ret_surplus) {
        size_t n_fds = 0;

        for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
                if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
                        continue;

                size_t n_here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n_here; i++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
                        if (n_fds < fds_max)
                                fds[n_fds++] = fd;
                        else {
                                safe_close(fd);
                                *ret_surplus = true;
                        }
                }
        }

        return n_fds;
}

int receive_message(int socket_fd, void *data, size_t size, int *fds, size_t fds_max, size_t *ret_n_fds, int flags) {
        /* A message that is too long is seen by the one byte of room beyond the size. */
        char surplus;
        struct iovec iov[2] = {
                { .iov_base = data, .iov_len = size },
                { .iov_base = &surplus, .iov_len = 1 },
        };
        ControlBuffer control;
        struct msghdr message = {
                .msg_iov = iov,
                .msg_iovlen = 2,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        ssize_t n;

        do
                n = recvmsg(socket_fd, &message, flags | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;

        bool bad = (message.msg_flags & MSG_TRUNC) != 0;
        size_t n_fds = take_fds(&message, fds, fds_max, &bad);

        if (message.msg_flags & MSG_CTRUNC) {
                /* `control` has room for as many as a message can carry, so this process has reached RLIMIT_NOFILE. */
                close_many(fds, n_fds);
                return -EMFILE;
        }

        if (n == 0 && n_fds == 0 && !bad)
                return 0;

        if (bad || (size_t) n != size) {
                close_many(fds, n_fds);
                return -EBADMSG;
        }

        if (ret_n_fds)
                *ret_n_fds = n_fds;
        return 1;
}
