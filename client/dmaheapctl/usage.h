/* SPDX-License-Identifier: MIT */
/* The table of the caller's own usage, which usage and top show. */
#pragma once

#include "dmaheap.h"
#include "options.h"

/* Prints a reply of GetUsage. */
void print_usage(const Options *o, const DmaHeapReply *reply);
