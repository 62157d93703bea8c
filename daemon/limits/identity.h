/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <sys/types.h>

#include "limits/cgroup-bytes.h"
#include "util/macro.h"

/* The unit, control group and users of one process: whom a buffer belongs to. A peer, a client and a record of the
 * ledger each have one. */
typedef struct Identity {
        char *unit;           /* innermost systemd unit, or NULL */
        bool unit_is_user;    /* a unit of a user's manager, which names its units as the user likes */
        char *cgroup;         /* path below the cgroup root; from the ledger's file, it may be cut at the front */
        CgroupIds cgroup_ids; /* of the control group and its ancestors; none for the root */
        uid_t uid;
        uid_t user; /* owner of the enclosing user slice, else uid */
} Identity;

/* Copies the strings too; ret is the caller's to identity_done(). Returns 0, or -ENOMEM with *ret untouched. */
int identity_copy(const Identity *identity, Identity *ret);

/* Frees the strings, and leaves all zeroes. */
void identity_done(Identity *identity);

/* Whether both are one client: those of one unit, its manager, user and uid; or, both without a unit, of one control
 * group and uid. */
bool identity_is_same_client(const Identity *a, const Identity *b);

/* Orders identities by all their members: less than, equal to or greater than 0, as memcmp(). */
int identity_compare(const Identity *a, const Identity *b);
