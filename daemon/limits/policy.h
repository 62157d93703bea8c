/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Whether a client may use a heap, and which limits hold for it. Pure: the rules come from config.c, the facts from
 * the caller, and nothing is asked of the system. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "limits/identity.h"
#include "limits/quota.h"

/* An amount as written in the configuration. What a percentage is of is known only when a limit is computed. */
typedef enum PolicyAmountKind {
        POLICY_AMOUNT_UNSET,   /* not configured: the next more general rule holds */
        POLICY_AMOUNT_NUMBER,  /* bytes, or buffers; LIMIT_INFINITY for none */
        POLICY_AMOUNT_PERCENT, /* hundredths of a percent, 0 to 10000 */
} PolicyAmountKind;

typedef struct PolicyAmount {
        PolicyAmountKind kind;
        uint64_t value;
} PolicyAmount;

/* [Heap NAME] */
typedef struct PolicyHeap {
        char *name;
        PolicyAmount client_bytes_max; /* unset: half of a bounded heap, no limit of its own for others */
        PolicyAmount reserve_bytes;    /* unset: 0 */
        char **reserve_for;            /* units; NULL-terminated, or NULL */
        unsigned restricted;           /* a bit for each Allow list that is set, even if none of its names exists */
        uid_t *allow_uids;
        size_t n_allow_uids;
        gid_t *allow_gids;
        size_t n_allow_gids;
        char **allow_units; /* NULL-terminated, or NULL */
} PolicyHeap;

/* [Client UNIT] */
typedef struct PolicyClient {
        char *unit;
        PolicyAmount bytes_max;
        PolicyAmount buffers_max;
} PolicyClient;

/* The rules. Owned by the Config that contains it. */
typedef struct Policy {
        bool enforce;
        PolicyAmount client_bytes_max; /* none of these is unset */
        PolicyAmount client_buffers_max;
        PolicyAmount user_bytes_max;
        PolicyAmount system_bytes_max;
        PolicyAmount keep_available;
        PolicyHeap *heaps;
        size_t n_heaps;
        PolicyClient *clients;
        size_t n_clients;
} Policy;

/* Who asks. Borrowed. */
typedef struct PolicySubject {
        const Identity *identity;
        const gid_t *gids; /* primary and supplementary */
        size_t n_gids;
} PolicySubject;

/* The heap that is asked for. Borrowed. Rules for any name of its region apply. */
typedef struct PolicyTarget {
        const char *const *names; /* the names of all heaps of its region, its own among them */
        size_t n_names;
        uint64_t size; /* of the region, in bytes; 0 for a heap without bounds */
} PolicyTarget;

/* Limits in bytes and buffers, LIMIT_INFINITY for no limit. With Enforce=no there is no limit, and keep_available is
 * 0. */
typedef struct PolicyLimits {
        uint64_t client_bytes;
        uint64_t client_buffers;
        uint64_t user_bytes;
        uint64_t system_bytes;
        uint64_t keep_available; /* MemAvailable may not fall below it */

        /* Of the target's region; LIMIT_INFINITY without a target. */
        uint64_t heap_client_bytes; /* this client */
        uint64_t heap_bytes;        /* all clients together: the region's size */
        uint64_t heap_others_bytes; /* all clients without a part in the reserve together: size less reserve */
        bool heap_has_reserve;      /* this client may use the reserve, so it is not charged to the others' account */
} PolicyLimits;

/* The number an amount stands for. A percentage is of `whole`, rounded down. Unset gives `otherwise`. */
uint64_t policy_amount_resolve(PolicyAmount amount, uint64_t whole, uint64_t otherwise);

/* Whether every rule for the target's names admits the subject. A rule with Allow lists admits subjects that are in
 * one of them; a rule without admits everyone. Root is no exception, and Enforce=no changes nothing here. */
bool policy_may_use(const Policy *policy, const PolicySubject *subject, const PolicyTarget *target);

/* The limits that hold for a client of that identity. target: NULL for those that concern no heap. ram: MemTotal in
 * bytes.
 *
 * Of a region with several names, the smallest of their limits and the largest of their reserves hold, and the
 * reserve is for the units of all of them. A unit with a part in the reserve may always hold as many bytes as the
 * reserve has. A reserve of a heap without bounds is ignored. */
void policy_limits(const Policy *policy, const Identity *identity, const PolicyTarget *target, uint64_t ram,
                PolicyLimits *ret);
