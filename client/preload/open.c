/* SPDX-License-Identifier: MIT */
/*
 * open(2) and openat(2), with the names that large files and _FORTIFY_SOURCE give them.
 *
 * Invariant: a path of PATH_HEAP reaches the real function only if the daemon cannot be asked, or for O_PATH.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#include "daemon.h"
#include "node.h"
#include "path.h"
#include "real.h"

/* Programs built with _FORTIFY_SOURCE call these. The C library's headers declare them only with that macro. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int dir_fd, const char *path, int flags);
int __openat64_2(int dir_fd, const char *path, int flags);

/* Opens a heap of the daemon's. Returns true if that decides the open: *ret is its result, with errno set if it is
 * -1. */
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

/* Gives the result of opening a path that is not a heap. fd: the result of the real open. /dev/dma_heap does not exist
 * before the kernel's heap core is loaded; a node then takes its place. */
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

static mode_t mode_argument(int flags, va_list ap) {
        return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(ap, mode_t) : 0;
}

#define MODE_ARGUMENT(flags)                            \
        __extension__({                                 \
                va_list mode_ap_;                       \
                mode_t mode_;                           \
                                                        \
                va_start(mode_ap_, flags);              \
                mode_ = mode_argument(flags, mode_ap_); \
                va_end(mode_ap_);                       \
                mode_;                                  \
        })

/* The result of an open. real: the call of the real function, evaluated only if open_heap() does not decide. */
#define SERVE(dir_fd, path, flags, real)                                                                            \
        __extension__({                                                                                             \
                int serve_fd_;                                                                                      \
                                                                                                                    \
                open_heap(dir_fd, path, flags, &serve_fd_) ? serve_fd_ : open_directory(dir_fd, path, flags, real); \
        })

#define DEFINE_OPEN(name)                                                           \
        int name(const char *path, int flags, ...) {                                \
                mode_t mode = MODE_ARGUMENT(flags);                                 \
                return SERVE(AT_FDCWD, path, flags, REAL(name)(path, flags, mode)); \
        }

#define DEFINE_OPENAT(name)                                                               \
        int name(int dir_fd, const char *path, int flags, ...) {                          \
                mode_t mode = MODE_ARGUMENT(flags);                                       \
                return SERVE(dir_fd, path, flags, REAL(name)(dir_fd, path, flags, mode)); \
        }

#define DEFINE_OPEN_2(name)                                                   \
        int name(const char *path, int flags) {                               \
                return SERVE(AT_FDCWD, path, flags, REAL(name)(path, flags)); \
        }

#define DEFINE_OPENAT_2(name)                                                       \
        int name(int dir_fd, const char *path, int flags) {                         \
                return SERVE(dir_fd, path, flags, REAL(name)(dir_fd, path, flags)); \
        }

DEFINE_OPEN(open)
DEFINE_OPEN(open64)
DEFINE_OPENAT(openat)
DEFINE_OPENAT(openat64)
DEFINE_OPEN_2(__open_2)
DEFINE_OPEN_2(__open64_2)
DEFINE_OPENAT_2(__openat_2)
DEFINE_OPENAT_2(__openat64_2)
