/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "clients/client.h"
#include "clients/peer.h"
#include "config/config.h"
#include "heap/heap.h"

/* Calls policy.c with the names of all heaps that share a heap's region, and with the region's size. */
typedef struct Rules {
        Config *const *config; /* where the manager keeps the configuration in force */
        HeapRegistry *heaps;
        uint64_t ram; /* MemTotal in bytes */
} Rules;

/* Whether the peer may use the heap at all. */
bool rules_may_use(const Rules *rules, const Peer *peer, const Heap *heap);

/* The limits that hold for a client, of a heap or without regard to one (NULL). */
void rules_limits(const Rules *rules, const Client *client, const Heap *heap, PolicyLimits *ret);
