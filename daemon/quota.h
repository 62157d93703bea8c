/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Limits and charges, arithmetic only: no I/O, no allocation but the shares' list, nothing but libc. quota.c opens with the
 * idea. Amounts are 64-bit, in bytes or in buffers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIMIT_INFINITY UINT64_MAX

/* In the order of the interface's QuotaExceeded; QUOTA_SCOPE_CGROUP is only ever reported by memory-cgroup.c's users. */
typedef enum QuotaScope {
        QUOTA_SCOPE_CLIENT,
        QUOTA_SCOPE_USER,
        QUOTA_SCOPE_HEAP,
        QUOTA_SCOPE_CGROUP,
        QUOTA_SCOPE_SYSTEM,
} QuotaScope;

typedef enum QuotaResource {
        QUOTA_RESOURCE_BYTES,
        QUOTA_RESOURCE_BUFFERS,
} QuotaResource;

/* What is held against one payer: embedded by value in the client, the user, the region, the system. All zeroes is an
 * empty account. Read its fields freely, change them only through charges. */
typedef struct QuotaAccount {
        uint64_t bytes;          /* everything charged: live buffers and reservations */
        uint64_t buffers;
        uint64_t reserved_bytes; /* the part of `bytes` that is reserved and not yet allocated */
} QuotaAccount;

/* Asserts that nothing is charged: call it where the object that embeds the account is freed. */
void quota_account_done(QuotaAccount *account);

/* The most accounts one charge is held against: client, user, client × heap, heap, heap without its reserve, system. */
#define QUOTA_ACCOUNTS_MAX 6U

/* A charge by value, embedded in the thing that pays for it (a request, a live buffer). All zeroes is an empty charge. It
 * has one owner: never copy it, move it by quota_charge_split(). The accounts must outlive it. */
typedef struct QuotaCharge {
        QuotaAccount *accounts[QUOTA_ACCOUNTS_MAX];
        size_t n_accounts;
        uint64_t bytes;
        uint64_t buffers;
        bool reserved; /* nothing is allocated yet */
} QuotaCharge;

/* One payer asked to take part in a charge. */
typedef struct QuotaDemand {
        QuotaScope scope;
        const char *name; /* for the report: the heap, the unit, ... ; borrowed, may be NULL */
        QuotaAccount *account;
        uint64_t bytes_max; /* the most it may hold afterwards, LIMIT_INFINITY for no limit */
        uint64_t buffers_max;
} QuotaDemand;

/* Which limit was in the way. used + requested > limit holds always (mathematically, not modulo 2^64). */
typedef struct QuotaRefusal {
        size_t index; /* of the demand */
        QuotaScope scope;
        const char *name; /* the demand's, borrowed */
        QuotaResource resource;
        uint64_t limit;
        uint64_t used;
        uint64_t requested;
} QuotaRefusal;

/* Multiplies size by count. -EOVERFLOW, and *ret untouched, when the product passes 2^64 - 1. */
int quota_multiply(uint64_t size, uint64_t count, uint64_t *ret);

/* Charges bytes and buffers to every demand's account as a reservation, or to none.
 *
 * charge: must be empty. demands: at most QUOTA_ACCOUNTS_MAX, no account twice; looked at in their order, bytes before
 * buffers, so the first that refuses is the one reported.
 * Returns 0; -EDQUOT with *ret_refusal filled in (unless NULL) when a limit would be passed, a sum beyond 2^64 - 1
 * included: nothing is held then. */
int quota_reserve(
                QuotaCharge *charge,
                const QuotaDemand *demands,
                size_t n_demands,
                uint64_t bytes,
                uint64_t buffers,
                QuotaRefusal *ret_refusal);

/* Charges every demand's account as allocated, whatever its limit: for buffers that exist. charge must be empty. */
void quota_charge_force(
                QuotaCharge *charge, const QuotaDemand *demands, size_t n_demands, uint64_t bytes, uint64_t buffers);

/* Moves bytes and one buffer out of a reservation into the charge of a buffer that has been allocated. The accounts'
 * totals stay what they are; their reserved part shrinks. ret must be empty; asserts that the reservation has as much. */
void quota_charge_split(QuotaCharge *reservation, uint64_t bytes, QuotaCharge *ret);

/* Gives a charge back and leaves it empty. Doing it to an empty charge does nothing, so error paths need no branch. */
void quota_uncharge(QuotaCharge *charge);

static inline bool quota_charge_is_empty(const QuotaCharge *charge) {
        return charge->n_accounts == 0;
}

/* The accounts of one payer, one for each of several things: a client's for each heap region. All zeroes is empty. */
typedef struct QuotaShare QuotaShare;
struct QuotaShare {
        QuotaAccount account;
        const void *key; /* the region; compared by address, never looked into */
        QuotaShare *next;
};

typedef struct QuotaShares {
        QuotaShare *first;
} QuotaShares;

/* Finds the share for key, or makes it. Its address is stable until quota_shares_done(). -ENOMEM. */
int quota_shares_get(QuotaShares *shares, const void *key, QuotaShare **ret);

/* Frees all shares; asserts that none is charged. */
void quota_shares_done(QuotaShares *shares);
