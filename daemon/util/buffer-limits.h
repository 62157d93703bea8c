/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The limits of an Allocate call that the request, the messages to workers and the ledger must agree on. The length of
 * a heap's name is in heap-name.h. */

#include "util/fd-util.h"

/* The most buffers of one call: as many descriptors as one message carries. */
#define BUFFERS_MAX FDS_PER_MESSAGE_MAX

/* The most bytes of a label, without the NUL. It becomes the dma-buf's name (DMA_BUF_SET_NAME of linux/dma-buf.h). */
#define BUFFER_LABEL_MAX 31U
