/* SPDX-License-Identifier: GPL-2.0-only */

/* The identity of a process, as a value: copied, compared and freed here and nowhere else, so that a new member
 * needs a line in each function of this file only. An Identity owns its strings, except where it was filled with
 * borrowed ones to be looked at. */

#include "limits/identity.h"

int identity_copy(const Identity *identity, Identity *ret) {
        _cleanup_free_ char *unit = identity->unit ? strdup(identity->unit) : NULL;
        _cleanup_free_ char *cgroup = strdup(identity->cgroup);

        if (!cgroup || (identity->unit && !unit))
                return -ENOMEM;

        *ret = *identity;
        ret->unit = TAKE_PTR(unit);
        ret->cgroup = TAKE_PTR(cgroup);
        return 0;
}

void identity_done(Identity *identity) {
        free(identity->unit);
        free(identity->cgroup);
        *identity = (Identity) {};
}

static uint64_t own_cgroup_id(const Identity *identity) {
        return identity->cgroup_ids.n > 0 ? identity->cgroup_ids.ids[0] : 0;
}

bool identity_is_same_client(const Identity *a, const Identity *b) {
        if (a->uid != b->uid)
                return false;

        if (!a->unit || !b->unit)
                return !a->unit && !b->unit && own_cgroup_id(a) == own_cgroup_id(b);

        /* Two users' managers may have units of one name, so the user is compared as well. */
        return streq(a->unit, b->unit) && a->unit_is_user == b->unit_is_user && a->user == b->user;
}

int identity_compare(const Identity *a, const Identity *b) {
#define COMPARE(member)             \
        if (a->member != b->member) \
        return a->member < b->member ? -1 : 1
        COMPARE(uid);
        COMPARE(user);
        COMPARE(unit_is_user);
        COMPARE(cgroup_ids.n);
#undef COMPARE

        int c = memcmp(a->cgroup_ids.ids, b->cgroup_ids.ids, a->cgroup_ids.n * sizeof(a->cgroup_ids.ids[0]));
        if (c == 0)
                c = strcmp(a->cgroup, b->cgroup);
        if (c == 0)
                c = !a->unit || !b->unit ? !!a->unit - !!b->unit : strcmp(a->unit, b->unit);
        return c;
}
