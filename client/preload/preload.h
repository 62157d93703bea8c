/* SPDX-License-Identifier: MIT */
/*
 * libdmaheap-preload.so lets a program that opens /dev/dma_heap/NAME get its buffers from dmaheapd, unchanged and
 * unprivileged.
 *
 * It keeps no state about file descriptors. What a program gets for an opened heap is a memfd that carries the heap's name
 * and is sealed; the ioctl asks the fd itself what it is. So it survives whatever programs do with fds: dup, fork, exec,
 * passing them on, close_range, and threads doing all of that at once. Nor does it keep a connection: each question is
 * one of its own.
 *
 * For a path that is not under /dev/dma_heap, and for an fd that is no such memfd, each function is the real one. If the
 * daemon cannot be reached, the same holds for all paths: the program sees what it would have seen without the library.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "dmaheap.h"
#include "shared/cleanup.h"

#define HEAP_DIRECTORY "/dev/dma_heap"
#define HEAP_NAME_MAX 64

/* The libc's function of that name: what would have run without this library. */
#define REAL(function)                                                              \
        __extension__({                                                             \
                static void *cached_;                                               \
                (__typeof__(&function)) real_function(&cached_, #function);         \
        })
void *real_function(void **cache, const char *name);

/* ---- path.c ---- */

typedef enum PathKind {
        PATH_OTHER,     /* none of our business */
        PATH_DIRECTORY, /* /dev/dma_heap itself */
        PATH_HEAP,      /* /dev/dma_heap/NAME */
} PathKind;

/* What a path means, relative to dir_fd as in openat(2). For PATH_HEAP, name gets the heap's. Leaves errno alone. */
PathKind path_classify(int dir_fd, const char *path, char name[static HEAP_NAME_MAX + 1]);

/* ---- node.c ---- */

/* A new fd that stands for an opened heap, or for the directory if name is "". Returns it, or a negative errno. */
int node_new(const char *name, bool cloexec);

/* Whether fd is one of those. If so, name gets what it was made with. Leaves errno alone. */
bool node_is(int fd, char name[static HEAP_NAME_MAX + 1]);

/* ---- daemon.c ---- */

/* Whether the daemon has such a heap: 1, or 0 if it has not, or negative if it cannot be reached. Leaves errno alone. */
int daemon_has_heap(const char *name);

/* All heaps that can be opened, in a reply of ListHeaps. Returns as dmaheap_list_heaps(). */
int daemon_list(DmaHeapReply **ret);
bool heap_is_there(const DmaHeapInfo *heap);

/* Allocates. Returns the fd, or a negative errno such as the kernel's ioctl would have given. */
int daemon_allocate(const char *heap, uint64_t size, bool read_only);

/* ---- directory.c ---- */

/* Whether fd is open on the directory of heaps, the real one or ours. Leaves errno alone. */
bool directory_is(int fd);
