/* SPDX-License-Identifier: GPL-2.0-only */

/* A client's buffers have equal owners, and there may be 65536 of them, so each owner is stored once. An owner is in
 * the tree exactly as long as it has a record, except between ledger_shared_owner() and
 * ledger_shared_owner_release(). */

#include <assert.h>
#include <search.h>

#include "ledger/ledger-shared.h"

static int compare_owners(const void *a, const void *b) {
        const LedgerSharedOwner *x = a, *y = b;

        return identity_compare(&x->owner, &y->owner);
}

static int compare_strings(const void *a, const void *b) {
        return strcmp(a, b);
}

static LedgerSharedOwner *shared_owner_free(LedgerSharedOwner *owner) {
        if (owner)
                identity_done(&owner->owner);
        free(owner);
        return NULL;
}
DEFINE_CLEANUP(LedgerSharedOwner, shared_owner_free);

int ledger_shared_owner(LedgerShared *shared, const Identity *owner, LedgerSharedOwner **ret) {
        LedgerSharedOwner key = { .owner = *owner };

        LedgerSharedOwner **found = tfind(&key, &shared->owners, compare_owners);
        if (found) {
                *ret = *found;
                return 0;
        }

        _cleanup_(shared_owner_freep) LedgerSharedOwner *copy = calloc(1, sizeof(*copy));
        if (!copy)
                return -ENOMEM;

        int r = identity_copy(owner, &copy->owner);
        if (r < 0)
                return r;

        if (!tsearch(copy, &shared->owners, compare_owners))
                return -ENOMEM;

        *ret = TAKE_PTR(copy);
        return 0;
}

void ledger_shared_owner_release(LedgerShared *shared, LedgerSharedOwner *owner) {
        if (owner->n_records > 0)
                return;

        (void) tdelete(owner, &shared->owners, compare_owners);
        shared_owner_free(owner);
}

int ledger_shared_heap(LedgerShared *shared, const char *name, const char **ret) {
        char **found = tfind(name, &shared->heaps, compare_strings);
        if (found) {
                *ret = *found;
                return 0;
        }

        _cleanup_free_ char *copy = strdup(name);
        if (!copy || !tsearch(copy, &shared->heaps, compare_strings))
                return -ENOMEM;

        *ret = TAKE_PTR(copy);
        return 0;
}

void ledger_shared_done(LedgerShared *shared) {
        assert(!shared->owners);
        tdestroy(shared->heaps, free);
        *shared = (LedgerShared) {};
}
