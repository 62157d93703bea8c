/* SPDX-License-Identifier: GPL-2.0-only */

#include <assert.h>
#include <search.h>

#include "ledger-shared.h"

static int compare_owners(const void *a, const void *b) {
        const LedgerOwner *x = &((const LedgerSharedOwner *) a)->owner, *y = &((const LedgerSharedOwner *) b)->owner;

#define COMPARE(member)             \
        if (x->member != y->member) \
        return x->member < y->member ? -1 : 1
        COMPARE(uid);
        COMPARE(user);
        COMPARE(unit_is_user);
        COMPARE(cgroup_ids.n);
#undef COMPARE

        int c = memcmp(x->cgroup_ids.ids, y->cgroup_ids.ids, x->cgroup_ids.n * sizeof(uint64_t));
        if (c == 0)
                c = strcmp(x->cgroup, y->cgroup);
        if (c == 0)
                c = !x->unit || !y->unit ? !!x->unit - !!y->unit : strcmp(x->unit, y->unit);
        return c;
}

static int compare_strings(const void *a, const void *b) {
        return strcmp(a, b);
}

static LedgerSharedOwner *shared_owner_free(LedgerSharedOwner *owner) {
        if (owner) {
                free(owner->owner.unit);
                free(owner->owner.cgroup);
        }
        free(owner);
        return NULL;
}
DEFINE_CLEANUP(LedgerSharedOwner, shared_owner_free);

int ledger_shared_owner(LedgerShared *shared, const LedgerOwner *owner, LedgerSharedOwner **ret) {
        LedgerSharedOwner key = { .owner = *owner };

        LedgerSharedOwner **found = tfind(&key, &shared->owners, compare_owners);
        if (found) {
                *ret = *found;
                return 0;
        }

        _cleanup_(shared_owner_freep) LedgerSharedOwner *copy = calloc(1, sizeof(*copy));
        if (!copy)
                return -ENOMEM;

        copy->owner = (LedgerOwner) {
                .unit = owner->unit ? strdup(owner->unit) : NULL,
                .unit_is_user = owner->unit_is_user,
                .cgroup = strdup(owner->cgroup),
                .cgroup_ids = owner->cgroup_ids,
                .uid = owner->uid,
                .user = owner->user,
        };
        if (!copy->owner.cgroup || (owner->unit && !copy->owner.unit))
                return -ENOMEM;

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
