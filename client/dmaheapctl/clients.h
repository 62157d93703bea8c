/* SPDX-License-Identifier: MIT */
/* The table of clients, which clients and top show. */
#pragma once

#include <stddef.h>

#include "dmaheap.h"
#include "options.h"

/* Prints a reply of ListClients, the clients that hold the most bytes first. max_lines: how many lines to print, with
 * the header; 0 for all. */
void print_clients(const Options *o, const DmaHeapReply *reply, size_t max_lines);
