/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The owners and names of heaps that the ledger's records share. */

#include "limits/identity.h"

typedef struct LedgerSharedOwner {
        Identity owner;
        size_t n_records; /* that have this owner; counted by the ledger */
} LedgerSharedOwner;

/* All zeroes is empty. */
typedef struct LedgerShared {
        void *owners; /* a tsearch(3) tree of LedgerSharedOwner, by identity_compare() */
        void *heaps;  /* a tsearch(3) tree of strings */
} LedgerShared;

/* Finds the owner that is equal in every member, or adds a copy without records. Returns 0 or -ENOMEM. */
int ledger_shared_owner(LedgerShared *shared, const Identity *owner, LedgerSharedOwner **ret);

/* Frees the owner if it has no records. */
void ledger_shared_owner_release(LedgerShared *shared, LedgerSharedOwner *owner);

/* Finds the name, or adds a copy. Names stay until ledger_shared_done(), since there are few heaps. Returns 0 or
 * -ENOMEM. */
int ledger_shared_heap(LedgerShared *shared, const char *name, const char **ret);

/* Frees the names. All owners must have been released. */
void ledger_shared_done(LedgerShared *shared);
