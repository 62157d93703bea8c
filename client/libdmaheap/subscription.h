/* SPDX-License-Identifier: MIT */
/* The subscription to the heaps, as the event loop sees it. The rest of its contract is dmaheap.h. */
#pragma once

#include "connection.h"

/* Reads the replies that have arrived on the subscription's link, and adds each to c->done. Called with the lock held;
 * does nothing without a subscription. */
void connection_process_subscription(DmaHeapConnection *c);
