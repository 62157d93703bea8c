/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "client.h"
#include "config.h"
#include "heap.h"

/* Puts policy's questions with the facts it wants: which rules name a heap is a matter of its region's names. */
typedef struct Rules {
        Config *const *config; /* where the manager keeps the configuration in force */
        HeapRegistry *heaps;
        uint64_t ram; /* bytes */
} Rules;

bool rules_may_use(const Rules *rules, const Peer *peer, const char *heap);

/* Which limits hold for a client, of a heap or without regard to one (NULL). peer adds nothing to the limits but the groups,
 * and may be NULL. */
void rules_limits(const Rules *rules, const Client *client, const Peer *peer, const char *heap, PolicyLimits *ret);
