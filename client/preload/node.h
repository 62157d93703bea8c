/* SPDX-License-Identifier: MIT */
/*
 * libdmaheap-preload.so lets an unchanged and unprivileged program that opens /dev/dma_heap/NAME get its buffers from
 * dmaheapd.
 *
 * A program that opens a heap gets a node: a sealed memfd that contains the heap's name. The ioctl reads the name from
 * the fd, so the library keeps no table of fds; dup(), fork(), exec(), SCM_RIGHTS, close_range() and threads need no
 * handling. It keeps no connection either: each question to the daemon makes one.
 *
 * A path that is not below /dev/dma_heap, and an fd that is not a node, go to the C library's own function. So do all
 * paths while the daemon cannot be reached: the program sees what it would see without this library.
 */
#pragma once

#include <stdbool.h>

#define HEAP_DIRECTORY "/dev/dma_heap"
#define HEAP_NAME_MAX 64 /* bytes; the daemon accepts no longer name */

/* Makes a node for the heap of that name; for the directory of heaps if name is "". Returns the new fd, or a negative
 * errno. */
int node_new(const char *name, bool cloexec);

/* Returns whether fd is a node. If it is, name gets the name that node_new() was called with; else name is untouched.
 * Leaves errno alone. */
bool node_is(int fd, char name[static HEAP_NAME_MAX + 1]);

/* Returns whether fd is open on the directory of heaps: a node for it, or the real one. Leaves errno alone. */
bool node_is_directory(int fd);
