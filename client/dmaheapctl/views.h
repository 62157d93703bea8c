/* SPDX-License-Identifier: MIT */
/* The tables of some verbs, for `top` and `monitor`, which show them too. */
#pragma once

#include "dmaheapctl.h"

/* From a reply of ListHeaps, with the reasons of failed heaps below it. */
void print_heaps(const Options *o, const DmaHeapReply *reply);
const char *state_name(DmaHeapState state);

/* From a reply of GetUsage. */
void print_usage(const Options *o, const DmaHeapReply *reply);

/* From a reply of ListClients: those who hold most first, max_lines of them with the header; 0 for all. */
void print_clients(const Options *o, const DmaHeapReply *reply, size_t max_lines);
