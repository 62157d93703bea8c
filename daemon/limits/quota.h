/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Limits and charges: arithmetic only, without I/O, and with no allocation but that of shares. quota.c opens with
 * the idea. Amounts are 64-bit, in bytes or in buffers. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIMIT_INFINITY UINT64_MAX

/* The scopes of the interface's QuotaExceeded, in its order. Nothing in quota.c reports QUOTA_SCOPE_CGROUP: control
 * groups are checked by memory-cgroup.c. */
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

/* The sums charged to one payer: a client, a user, a region, the system. It is embedded in the payer by value. All
 * zeroes is an empty account. Its fields may be read by anyone, and are changed through charges only. */
typedef struct QuotaAccount {
        uint64_t bytes; /* everything charged: live buffers and reservations */
        uint64_t buffers;
        uint64_t reserved_bytes; /* the part of `bytes` that is reserved and not yet allocated */
} QuotaAccount;

/* Asserts that nothing is charged. To be called where the object that embeds the account is freed. */
void quota_account_done(QuotaAccount *account);

/* The most accounts of one charge: client, user, client × heap, heap, system, heap without its reserve. */
#define QUOTA_ACCOUNTS_MAX 6U

/* The amount charged for one thing, and to which accounts. It is embedded by value in that thing: a reservation, or
 * a live buffer. All zeroes is an empty charge. A charge is never copied; quota_charge_split() moves a part of it.
 * The accounts must outlive it. */
typedef struct QuotaCharge {
        QuotaAccount *accounts[QUOTA_ACCOUNTS_MAX];
        size_t n_accounts;
        uint64_t bytes;
        uint64_t buffers;
        bool reserved; /* nothing is allocated yet */
} QuotaCharge;

/* One account that is to be charged, and its limits. */
typedef struct QuotaDemand {
        QuotaScope scope;
        const char *name; /* for QuotaRefusal; borrowed, may be NULL */
        QuotaAccount *account;
        uint64_t bytes_max; /* the most it may hold with the charge; LIMIT_INFINITY for no limit */
        uint64_t buffers_max;
} QuotaDemand;

/* The limit that refused. used + requested > limit, where the sum may be larger than a uint64_t holds. */
typedef struct QuotaRefusal {
        size_t index; /* of the demand */
        QuotaScope scope;
        const char *name; /* the demand's, borrowed */
        QuotaResource resource;
        uint64_t limit;
        uint64_t used;
        uint64_t requested;
} QuotaRefusal;

/* Multiplies size by count. Returns 0, or -EOVERFLOW when the product passes 2^64 - 1. */
int quota_multiply(uint64_t size, uint64_t count, uint64_t *ret);

/* Charges bytes and buffers to every demand's account as a reservation, or to none.
 *
 * charge: must be empty. demands: at most QUOTA_ACCOUNTS_MAX, no account twice. They are checked in their order,
 * bytes before buffers, and the first limit that refuses is reported. Returns 0; -EDQUOT with *ret_refusal filled in
 * (unless NULL) when a limit would be passed or a sum would pass 2^64 - 1; then nothing is charged. */
int quota_reserve(QuotaCharge *charge, const QuotaDemand *demands, size_t n_demands, uint64_t bytes, uint64_t buffers,
                QuotaRefusal *ret_refusal);

/* Charges every demand's account as allocated, whatever its limit: for buffers that exist. charge must be empty. */
void quota_charge_force(
                QuotaCharge *charge, const QuotaDemand *demands, size_t n_demands, uint64_t bytes, uint64_t buffers);

/* Moves bytes and one buffer out of a reservation into the charge of a buffer that has been allocated. The accounts'
 * totals stay the same; their reserved part shrinks. ret must be empty. Asserts that the reservation has as much. */
void quota_charge_split(QuotaCharge *reservation, uint64_t bytes, QuotaCharge *ret);

/* Takes a charge from its accounts and leaves it empty. With an empty charge it does nothing, so error paths need no
 * branch. */
void quota_uncharge(QuotaCharge *charge);

static inline bool quota_charge_is_empty(const QuotaCharge *charge) {
        return charge->n_accounts == 0;
}

/* The accounts of one payer, one for each of several things: of a client, one for each budget. All zeroes is empty. */
typedef struct QuotaShare QuotaShare;
struct QuotaShare {
        QuotaAccount account;
        const void *key; /* compared by address; accounting.c knows that it is a Budget */
        QuotaShare *next;
};

typedef struct QuotaShares {
        QuotaShare *first;
} QuotaShares;

/* Finds the share for key, or adds it. Its address is good until quota_shares_done(). Returns 0 or -ENOMEM. */
int quota_shares_get(QuotaShares *shares, const void *key, QuotaShare **ret);

/* Frees all shares; asserts that none is charged. */
void quota_shares_done(QuotaShares *shares);
