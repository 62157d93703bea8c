/* SPDX-License-Identifier: MIT */
/* open(2) in all its forms. */

#include <fcntl.h>
#include <stdarg.h>

#include "preload.h"

/* What programs built with _FORTIFY_SOURCE call; the headers declare them to nobody else. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir_fd, const char *path, int flags);
int __openat64_2(int dir_fd, const char *path, int flags);

/* Returns true if the open is served here: *ret is its result, and errno is set if that is negative. */
static bool open_heap(int dir_fd, const char *path, int flags, int *ret) {
        char name[HEAP_NAME_MAX + 1];
        int r;

        if (path_classify(dir_fd, path, name) != PATH_HEAP || (flags & O_PATH) == O_PATH)
                return false;

        r = daemon_has_heap(name);
        if (r < 0)
                return false;
        if (r == 0)
                r = -ENOENT;
        else if (flags & O_DIRECTORY)
                r = -ENOTDIR;
        else if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
                r = -EEXIST;
        else
                r = node_new(name, (flags & O_CLOEXEC) != 0);

        *ret = r;
        if (r < 0) {
                errno = -r;
                *ret = -1;
        }
        return true;
}

/* The directory is opened for real if there is one; the kernel's core may not be loaded yet. */
static int open_directory(int dir_fd, const char *path, int flags, int fd) {
        char name[HEAP_NAME_MAX + 1];
        DmaHeapReply *reply = NULL;
        int r;

        if (fd >= 0 || errno != ENOENT || path_classify(dir_fd, path, name) != PATH_DIRECTORY)
                return fd;

        r = daemon_list(&reply);
        (void) dmaheap_reply_free(reply);
        if (r >= 0)
                r = node_new("", (flags & O_CLOEXEC) != 0);
        if (r >= 0)
                return r;
        errno = ENOENT;
        return -1;
}

static bool needs_mode(int flags) {
        return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
}

#define DEFINE_OPEN(name)                                                       \
        int name(const char *path, int flags, ...) {                            \
                mode_t mode = 0;                                                \
                int fd;                                                         \
                                                                                \
                if (needs_mode(flags)) {                                        \
                        va_list ap;                                             \
                                                                                \
                        va_start(ap, flags);                                    \
                        mode = va_arg(ap, mode_t);                              \
                        va_end(ap);                                             \
                }                                                               \
                if (open_heap(AT_FDCWD, path, flags, &fd))                      \
                        return fd;                                              \
                fd = REAL(name)(path, flags, mode);                             \
                return open_directory(AT_FDCWD, path, flags, fd);               \
        }

#define DEFINE_OPENAT(name)                                                     \
        int name(int dir_fd, const char *path, int flags, ...) {                \
                mode_t mode = 0;                                                \
                int fd;                                                         \
                                                                                \
                if (needs_mode(flags)) {                                        \
                        va_list ap;                                             \
                                                                                \
                        va_start(ap, flags);                                    \
                        mode = va_arg(ap, mode_t);                              \
                        va_end(ap);                                             \
                }                                                               \
                if (open_heap(dir_fd, path, flags, &fd))                        \
                        return fd;                                              \
                fd = REAL(name)(dir_fd, path, flags, mode);                     \
                return open_directory(dir_fd, path, flags, fd);                 \
        }

#define DEFINE_OPEN_2(name)                                                     \
        int name(const char *path, int flags) {                                 \
                int fd;                                                         \
                                                                                \
                if (open_heap(AT_FDCWD, path, flags, &fd))                      \
                        return fd;                                              \
                fd = REAL(name)(path, flags);                                   \
                return open_directory(AT_FDCWD, path, flags, fd);               \
        }

#define DEFINE_OPENAT_2(name)                                                   \
        int name(int dir_fd, const char *path, int flags) {                     \
                int fd;                                                         \
                                                                                \
                if (open_heap(dir_fd, path, flags, &fd))                        \
                        return fd;                                              \
                fd = REAL(name)(dir_fd, path, flags);                           \
                return open_directory(dir_fd, path, flags, fd);                 \
        }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)
DEFINE_OPEN_2(__open_2)
DEFINE_OPEN_2(__open64_2)
DEFINE_OPENAT_2(__openat_2)
DEFINE_OPENAT_2(__openat64_2)
