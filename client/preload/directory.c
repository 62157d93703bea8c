/* SPDX-License-Identifier: MIT */
/*
 * Reading the directory /dev/dma_heap: its entries are the heaps that the daemon serves, those too whose module is not
 * loaded.
 *
 * Invariant: a DIR of this library's is in the table directories from opendir() until closedir(); every other DIR is
 * the C library's, and is passed on to it.
 */

#include <dirent.h>
#include <fcntl.h>

#include "daemon.h"
#include "node.h"
#include "path.h"
#include "real.h"
#include "shared/cleanup.h"

/* How many directories of heaps a process can read at once. The table tells this library's DIR from the C library's. It
 * has no lock, since a child of fork() could find a lock taken by a thread that does not exist there. */
#define DIRECTORIES_MAX 64

typedef struct Directory {
        int fd;
        DmaHeapReply *reply;
        size_t position; /* 0 is ".", 1 is "..", then the heaps */
        union {
                struct dirent entry;
                struct dirent64 entry64;
        };
} Directory;

static Directory *directories[DIRECTORIES_MAX];
static unsigned n_directories;

static Directory *directory_find(DIR *d) {
        if (__atomic_load_n(&n_directories, __ATOMIC_ACQUIRE) == 0)
                return NULL;
        for (size_t i = 0; i < DIRECTORIES_MAX; i++)
                if (d && (DIR *) __atomic_load_n(directories + i, __ATOMIC_ACQUIRE) == d)
                        return (Directory *) d;
        return NULL;
}

static bool directory_register(Directory *d) {
        for (size_t i = 0; i < DIRECTORIES_MAX; i++) {
                Directory *expected = NULL;

                if (__atomic_compare_exchange_n(
                                    directories + i, &expected, d, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
                        (void) __atomic_add_fetch(&n_directories, 1, __ATOMIC_ACQ_REL);
                        return true;
                }
        }
        return false;
}

static void directory_unregister(Directory *d) {
        for (size_t i = 0; i < DIRECTORIES_MAX; i++) {
                Directory *expected = d;

                if (__atomic_compare_exchange_n(
                                    directories + i, &expected, NULL, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
                        (void) __atomic_sub_fetch(&n_directories, 1, __ATOMIC_ACQ_REL);
        }
}

/* Owns the fd and the reply only if it succeeds. On failure it returns NULL with errno set. */
static Directory *directory_new(int fd, DmaHeapReply *reply) {
        Directory *d;

        d = calloc(1, sizeof(*d));
        if (!d)
                return NULL;
        d->fd = fd;
        d->reply = reply;
        if (!directory_register(d)) {
                free(d);
                errno = EMFILE;
                return NULL;
        }
        return d;
}

DIR *opendir(const char *path) {
        char name[HEAP_NAME_MAX + 1];
        DmaHeapReply *reply = NULL;
        Directory *d;
        int fd;

        if (path_classify(AT_FDCWD, path, name) != PATH_DIRECTORY || daemon_list(&reply) < 0)
                return REAL(opendir)(path);

        fd = REAL(open)(HEAP_DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                fd = node_new("", true);
        if (fd < 0) {
                errno = -fd;
                (void) dmaheap_reply_free(reply);
                return NULL;
        }

        d = directory_new(fd, reply);
        if (!d) {
                (void) fd_close(fd);
                (void) dmaheap_reply_free(reply);
        }
        return (DIR *) d;
}

DIR *fdopendir(int fd) {
        DmaHeapReply *reply = NULL;
        Directory *d;

        if (!node_is_directory(fd) || daemon_list(&reply) < 0)
                return REAL(fdopendir)(fd);

        d = directory_new(fd, reply);
        if (!d)
                (void) dmaheap_reply_free(reply);
        return (DIR *) d;
}

int closedir(DIR *dir) {
        Directory *d = directory_find(dir);

        if (!d)
                return REAL(closedir)(dir);

        directory_unregister(d);
        (void) fd_close(d->fd);
        (void) dmaheap_reply_free(d->reply);
        free(d);
        return 0;
}

int dirfd(DIR *dir) {
        Directory *d = directory_find(dir);

        return d ? d->fd : REAL(dirfd)(dir);
}

/* Returns the name of the next entry, and its d_type; NULL at the end. */
static const char *directory_next(Directory *d, unsigned char *ret_type) {
        const DmaHeapInfo *const *heaps;
        size_t n;

        *ret_type = d->position < 2 ? DT_DIR : DT_CHR;
        if (d->position < 2)
                return d->position++ == 0 ? "." : "..";

        heaps = dmaheap_reply_heaps(d->reply, &n);
        while (d->position - 2 < n) {
                const DmaHeapInfo *h = heaps[d->position++ - 2];

                if (heap_is_there(h) && strlen(h->name) <= HEAP_NAME_MAX)
                        return h->name;
        }
        return NULL;
}

#define DEFINE_READDIR(name, type, member)                                  \
        type *name(DIR *dir) {                                              \
                Directory *d = directory_find(dir);                         \
                unsigned char kind;                                         \
                const char *next;                                           \
                                                                            \
                if (!d)                                                     \
                        return REAL(name)(dir);                             \
                next = directory_next(d, &kind);                            \
                if (!next)                                                  \
                        return NULL;                                        \
                d->member = (type) {                                        \
                        .d_ino = d->position, /* 0 means a deleted entry */ \
                        .d_off = (__typeof__(d->member.d_off)) d->position, \
                        .d_reclen = sizeof(type),                           \
                        .d_type = kind,                                     \
                };                                                          \
                (void) strcpy(d->member.d_name, next);                      \
                return &d->member;                                          \
        }

DEFINE_READDIR(readdir, struct dirent, entry)
DEFINE_READDIR(readdir64, struct dirent64, entry64)

void rewinddir(DIR *dir) {
        Directory *d = directory_find(dir);

        if (d)
                d->position = 0;
        else
                REAL(rewinddir)(dir);
}

long telldir(DIR *dir) {
        Directory *d = directory_find(dir);

        return d ? (long) d->position : REAL(telldir)(dir);
}

void seekdir(DIR *dir, long position) {
        Directory *d = directory_find(dir);

        if (d)
                d->position = position < 0 ? 0 : (size_t) position;
        else
                REAL(seekdir)(dir, position);
}

/* The C library's scandir() calls its own opendir() and readdir(), not the ones above. */
#define DEFINE_SCANDIR(name, read_function, type)                                                       \
        int name(const char *path,                                                                      \
                        type ***ret,                                                                    \
                        int (*filter)(const type *),                                                    \
                        int (*compare)(const type **, const type **)) {                                 \
                char heap[HEAP_NAME_MAX + 1];                                                           \
                type **list = NULL, *entry;                                                             \
                DIR *dir;                                                                               \
                int n = 0;                                                                              \
                                                                                                        \
                if (path_classify(AT_FDCWD, path, heap) != PATH_DIRECTORY)                              \
                        return REAL(name)(path, ret, filter, compare);                                  \
                dir = opendir(path);                                                                    \
                if (!dir)                                                                               \
                        return -1;                                                                      \
                while ((entry = read_function(dir))) {                                                  \
                        type **longer, *copy;                                                           \
                                                                                                        \
                        if (filter && !filter(entry))                                                   \
                                continue;                                                               \
                        longer = reallocarray(list, (size_t) n + 1, sizeof(*list));                     \
                        copy = longer ? malloc(sizeof(*copy)) : NULL;                                   \
                        if (longer)                                                                     \
                                list = longer;                                                          \
                        if (!copy) {                                                                    \
                                while (n > 0)                                                           \
                                        free(list[--n]);                                                \
                                free(list);                                                             \
                                (void) closedir(dir);                                                   \
                                errno = ENOMEM;                                                         \
                                return -1;                                                              \
                        }                                                                               \
                        memcpy(copy, entry, sizeof(*copy));                                             \
                        list[n++] = copy;                                                               \
                }                                                                                       \
                (void) closedir(dir);                                                                   \
                if (compare && n > 1)                                                                   \
                        qsort(list,                                                                     \
                                        (size_t) n,                                                     \
                                        sizeof(*list),                                                  \
                                        (int (*)(const void *, const void *))(void (*)(void)) compare); \
                *ret = list;                                                                            \
                return n;                                                                               \
        }

DEFINE_SCANDIR(scandir, readdir, struct dirent)
DEFINE_SCANDIR(scandir64, readdir64, struct dirent64)
