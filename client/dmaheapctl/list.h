/* SPDX-License-Identifier: MIT */
/* The table of heaps, which list, monitor and top show. */
#pragma once

#include "dmaheap.h"
#include "options.h"

/* Prints a reply of ListHeaps, with the reasons of failed heaps below the table. */
void print_heaps(const Options *o, const DmaHeapReply *reply);

/* Returns the word for a state, a constant string; "unknown" for a state that this version does not know. */
const char *state_name(DmaHeapState state);
