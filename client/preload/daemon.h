/* SPDX-License-Identifier: MIT */
/* Questions to the daemon, each on a connection of its own. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "dmaheap.h"

/* Asks for the heaps. Returns 0, and the caller frees *ret with dmaheap_reply_free(); or a negative errno as
 * dmaheap_list_heaps(). */
int daemon_list(DmaHeapReply **ret);

/* Returns whether a heap of that reply can be opened: it is ready or loadable. */
bool heap_is_there(const DmaHeapInfo *heap);

/* Asks whether the daemon has a heap of that name that can be opened. Returns 1 or 0; a negative errno if the daemon
 * cannot be asked. Leaves errno alone. */
int daemon_has_heap(const char *name);

/* Allocates one buffer of size bytes. read_only: it cannot be mapped for writing. Returns the fd, close-on-exec, which
 * the caller owns; or the negative errno that DMA_HEAP_IOCTL_ALLOC would give in this case. */
int daemon_allocate(const char *heap, uint64_t size, bool read_only);
