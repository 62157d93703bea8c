/* SPDX-License-Identifier: MIT */
#pragma once

#include "dmaheapctl.h"

/* The table of `list`, from a reply of ListHeaps. */
void print_heaps(const Options *o, const DmaHeapReply *reply);
