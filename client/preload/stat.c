/* SPDX-License-Identifier: MIT */
/*
 * stat(2) and access(2) in all their forms: a heap that the daemon serves looks like a character device with mode 0666.
 *
 * Invariant: a heap that open() would open here has that mode in every form of stat and access; one that it would not
 * open does not exist in any.
 */

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daemon.h"
#include "node.h"
#include "path.h"
#include "real.h"
#include "shared/cleanup.h"

#define HEAP_MODE (S_IFCHR | 0666)
#define DIRECTORY_MODE (S_IFDIR | 0755)

/* Programs built with a glibc older than 2.33 call these. Its headers no longer declare them. */
int __xstat(int version, const char *path, struct stat *st);
int __xstat64(int version, const char *path, struct stat64 *st);
int __lxstat(int version, const char *path, struct stat *st);
int __lxstat64(int version, const char *path, struct stat64 *st);
int __fxstat(int version, int fd, struct stat *st);
int __fxstat64(int version, int fd, struct stat64 *st);
int __fxstatat(int version, int dir_fd, const char *path, struct stat *st, int flags);
int __fxstatat64(int version, int dir_fd, const char *path, struct stat64 *st, int flags);

/* Returns the type and mode to show for a path; 0 if the real function decides; -ENOENT for a heap that the daemon does
 * not have. Leaves errno alone. */
static int mode_of_path(int dir_fd, const char *path) {
        char name[HEAP_NAME_MAX + 1];
        DmaHeapReply *reply = NULL;
        int r;

        switch (path_classify(dir_fd, path, name)) {
        case PATH_HEAP:
                r = daemon_has_heap(name);
                return r < 0 ? 0 : r > 0 ? HEAP_MODE : -ENOENT;
        case PATH_DIRECTORY: {
                int saved_errno = errno;

                r = daemon_list(&reply);
                (void) dmaheap_reply_free(reply);
                errno = saved_errno;
                return r < 0 ? 0 : DIRECTORY_MODE;
        }
        default:
                return 0;
        }
}

/* Returns the type and mode to show for an fd; 0 if it is not a node. */
static int mode_of_fd(int fd) {
        char name[HEAP_NAME_MAX + 1];

        return node_is(fd, name) ? (*name ? HEAP_MODE : DIRECTORY_MODE) : 0;
}

/* The result of a stat function, after the real one returned r and filled *st. mode: of mode_of_path() or mode_of_fd().
 * A real device node keeps all but its mode; otherwise *st is made up. */
#define FINISH(r, st, mode)                                                                             \
        __extension__({                                                                                 \
                int finish_mode_ = (mode);                                                              \
                if (finish_mode_ > 0) {                                                                 \
                        if ((r) < 0 || !((st)->st_mode & S_IFMT) ||                                     \
                                        ((st)->st_mode & S_IFMT) != (mode_t) (finish_mode_ & S_IFMT)) { \
                                memset((st), 0, sizeof(*(st)));                                         \
                                (st)->st_nlink = 1;                                                     \
                                (st)->st_blksize = 4096;                                                \
                        }                                                                               \
                        (st)->st_mode = (mode_t) finish_mode_;                                          \
                        (r) = 0;                                                                        \
                } else if (finish_mode_ < 0) {                                                          \
                        errno = -finish_mode_;                                                          \
                        (r) = -1;                                                                       \
                }                                                                                       \
                (r);                                                                                    \
        })

#define DEFINE_STAT(name, type)                                                    \
        int name(const char *path, type *st) {                                     \
                int mode = mode_of_path(AT_FDCWD, path), r = REAL(name)(path, st); \
                                                                                   \
                return FINISH(r, st, mode);                                        \
        }

#define DEFINE_FSTAT(name, type)                                                           \
        int name(int fd, type *st) {                                                       \
                int r = REAL(name)(fd, st);                                                \
                                                                                           \
                return r < 0 || !S_ISREG(st->st_mode) ? r : FINISH(r, st, mode_of_fd(fd)); \
        }

#define DEFINE_FSTATAT(name, type)                                                   \
        int name(int dir_fd, const char *path, type *st, int flags) {                \
                int mode = path && *path              ? mode_of_path(dir_fd, path) : \
                                flags & AT_EMPTY_PATH ? mode_of_fd(dir_fd) :         \
                                                        0;                           \
                int r = REAL(name)(dir_fd, path, st, flags);                         \
                                                                                     \
                return FINISH(r, st, mode);                                          \
        }

#define DEFINE_XSTAT(name, type)                                                            \
        int name(int version, const char *path, type *st) {                                 \
                int mode = mode_of_path(AT_FDCWD, path), r = REAL(name)(version, path, st); \
                                                                                            \
                return FINISH(r, st, mode);                                                 \
        }

#define DEFINE_FXSTAT(name, type)                                                          \
        int name(int version, int fd, type *st) {                                          \
                int r = REAL(name)(version, fd, st);                                       \
                                                                                           \
                return r < 0 || !S_ISREG(st->st_mode) ? r : FINISH(r, st, mode_of_fd(fd)); \
        }

#define DEFINE_FXSTATAT(name, type)                                                  \
        int name(int version, int dir_fd, const char *path, type *st, int flags) {   \
                int mode = path && *path              ? mode_of_path(dir_fd, path) : \
                                flags & AT_EMPTY_PATH ? mode_of_fd(dir_fd) :         \
                                                        0;                           \
                int r = REAL(name)(version, dir_fd, path, st, flags);                \
                                                                                     \
                return FINISH(r, st, mode);                                          \
        }

DEFINE_STAT(stat, struct stat)
DEFINE_STAT(stat64, struct stat64)
DEFINE_STAT(lstat, struct stat)
DEFINE_STAT(lstat64, struct stat64)
DEFINE_FSTAT(fstat, struct stat)
DEFINE_FSTAT(fstat64, struct stat64)
DEFINE_FSTATAT(fstatat, struct stat)
DEFINE_FSTATAT(fstatat64, struct stat64)
DEFINE_XSTAT(__xstat, struct stat)
DEFINE_XSTAT(__xstat64, struct stat64)
DEFINE_XSTAT(__lxstat, struct stat)
DEFINE_XSTAT(__lxstat64, struct stat64)
DEFINE_FXSTAT(__fxstat, struct stat)
DEFINE_FXSTAT(__fxstat64, struct stat64)
DEFINE_FXSTATAT(__fxstatat, struct stat)
DEFINE_FXSTATAT(__fxstatat64, struct stat64)

int statx(int dir_fd, const char *path, int flags, unsigned mask, struct statx *st) {
        int mode = path && *path ? mode_of_path(dir_fd, path) : mode_of_fd(dir_fd);
        int r = REAL(statx)(dir_fd, path, flags, mask, st);

        if (mode > 0) {
                if (r < 0 || (st->stx_mode & S_IFMT) != (mode & S_IFMT))
                        *st = (struct statx) { .stx_mask = STATX_BASIC_STATS, .stx_nlink = 1, .stx_blksize = 4096 };
                st->stx_mode = (uint16_t) mode;
                return 0;
        }
        if (mode < 0) {
                errno = -mode;
                return -1;
        }
        return r;
}

/* Returns true if the path is one that this library serves: *ret is the result, with errno set if it is -1. */
static bool check_access(int dir_fd, const char *path, int how, int *ret) {
        int mode = mode_of_path(dir_fd, path), error = 0;

        if (mode == 0)
                return false;

        if (mode < 0)
                error = -mode;
        else if (S_ISCHR(mode) ? (how & X_OK) : (how & W_OK))
                error = EACCES;
        if (error != 0)
                errno = error;
        *ret = error != 0 ? -1 : 0;
        return true;
}

#define DEFINE_ACCESS(name)                                                               \
        int name(const char *path, int how) {                                             \
                int r;                                                                    \
                                                                                          \
                return check_access(AT_FDCWD, path, how, &r) ? r : REAL(name)(path, how); \
        }

DEFINE_ACCESS(access)
DEFINE_ACCESS(eaccess)
DEFINE_ACCESS(euidaccess)

int faccessat(int dir_fd, const char *path, int how, int flags) {
        int r;

        return check_access(dir_fd, path, how, &r) ? r : REAL(faccessat)(dir_fd, path, how, flags);
}
