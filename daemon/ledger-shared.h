/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* What many records of the ledger have in common, each kept once: owners, and names of heaps. */

#include "ledger.h"

typedef struct LedgerSharedOwner {
        Identity owner;
        size_t n_records; /* how many records it is in; the ledger's to count */
} LedgerSharedOwner;

/* All zeroes is empty. */
typedef struct LedgerShared {
        void *owners; /* trees of tsearch(3) */
        void *heaps;
} LedgerShared;

/* Finds the owner that is equal in everything, or makes a copy, with no records yet. -ENOMEM. */
int ledger_shared_owner(LedgerShared *shared, const Identity *owner, LedgerSharedOwner **ret);

/* Frees the owner if it has no records (left, or yet). */
void ledger_shared_owner_release(LedgerShared *shared, LedgerSharedOwner *owner);

/* Finds the name or makes a copy, which stays: there are not many heaps. -ENOMEM. */
int ledger_shared_heap(LedgerShared *shared, const char *name, const char **ret);

/* Frees the names; all owners must have been released. */
void ledger_shared_done(LedgerShared *shared);
