/* SPDX-License-Identifier: GPL-2.0-only */

/* Every payer has an account: a client, a user, a client's share of a heap, a heap, the system. An account is a pair
 * of sums. It stores no limits: these come with each request, since a reload may change them. A limit that has
 * fallen below what is used refuses new requests and takes nothing away.
 *
 * A charge lies inside the thing that is paid for, and remembers which accounts hold it. The code that ends the
 * thing ends the charge, on every path: giving an empty charge back does nothing. The owner of an account asserts
 * that it is empty when it frees it, so a lost charge stops the first test that loses one, instead of lowering a
 * client's quota for good.
 *
 * A request is checked against all its accounts before any is charged, so a refused request never holds anything.
 * The sum of an account always equals the sum of the charges that name it. */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "limits/quota.h"

void quota_account_done(QuotaAccount *account) {
        assert(account->bytes == 0);
        assert(account->buffers == 0);
        assert(account->reserved_bytes == 0);
}

int quota_multiply(uint64_t size, uint64_t count, uint64_t *ret) {
        uint64_t product;

        if (__builtin_mul_overflow(size, count, &product))
                return -EOVERFLOW;

        *ret = product;
        return 0;
}

static bool exceeds(uint64_t used, uint64_t requested, uint64_t limit) {
        uint64_t sum;

        return __builtin_add_overflow(used, requested, &sum) || sum > limit;
}

static int check_demands(const QuotaDemand *demands, size_t n_demands, uint64_t bytes, uint64_t buffers,
                QuotaRefusal *ret_refusal) {
        for (size_t i = 0; i < n_demands; i++) {
                const QuotaDemand *d = &demands[i];
                QuotaRefusal refusal = { .index = i, .scope = d->scope, .name = d->name };

                if (exceeds(d->account->bytes, bytes, d->bytes_max)) {
                        refusal.resource = QUOTA_RESOURCE_BYTES;
                        refusal.limit = d->bytes_max;
                        refusal.used = d->account->bytes;
                        refusal.requested = bytes;
                } else if (exceeds(d->account->buffers, buffers, d->buffers_max)) {
                        refusal.resource = QUOTA_RESOURCE_BUFFERS;
                        refusal.limit = d->buffers_max;
                        refusal.used = d->account->buffers;
                        refusal.requested = buffers;
                } else
                        continue;

                if (ret_refusal)
                        *ret_refusal = refusal;
                return -EDQUOT;
        }

        return 0;
}

static void charge_account(QuotaCharge *charge, QuotaAccount *account) {
        for (size_t i = 0; i < charge->n_accounts; i++)
                assert(charge->accounts[i] != account);

        assert(charge->n_accounts < QUOTA_ACCOUNTS_MAX);
        charge->accounts[charge->n_accounts++] = account;

        account->bytes += charge->bytes;
        account->buffers += charge->buffers;
        if (charge->reserved)
                account->reserved_bytes += charge->bytes;
}

int quota_reserve(QuotaCharge *charge, const QuotaDemand *demands, size_t n_demands, uint64_t bytes, uint64_t buffers,
                QuotaRefusal *ret_refusal) {

        assert(quota_charge_is_empty(charge));

        int r = check_demands(demands, n_demands, bytes, buffers, ret_refusal);
        if (r < 0)
                return r;

        *charge = (QuotaCharge) { .bytes = bytes, .buffers = buffers, .reserved = true };
        for (size_t i = 0; i < n_demands; i++)
                charge_account(charge, demands[i].account);

        return 0;
}

void quota_charge_force(
                QuotaCharge *charge, const QuotaDemand *demands, size_t n_demands, uint64_t bytes, uint64_t buffers) {

        assert(quota_charge_is_empty(charge));

        *charge = (QuotaCharge) { .bytes = bytes, .buffers = buffers };
        for (size_t i = 0; i < n_demands; i++)
                charge_account(charge, demands[i].account);
}

void quota_charge_split(QuotaCharge *reservation, uint64_t bytes, QuotaCharge *ret) {
        assert(quota_charge_is_empty(ret));
        assert(reservation->reserved);
        assert(reservation->bytes >= bytes);
        assert(reservation->buffers >= 1);

        *ret = *reservation;
        ret->bytes = bytes;
        ret->buffers = 1;
        ret->reserved = false;

        reservation->bytes -= bytes;
        reservation->buffers--;

        for (size_t i = 0; i < ret->n_accounts; i++) {
                assert(ret->accounts[i]->reserved_bytes >= bytes);
                ret->accounts[i]->reserved_bytes -= bytes;
        }
}

void quota_uncharge(QuotaCharge *charge) {
        for (size_t i = 0; i < charge->n_accounts; i++) {
                QuotaAccount *account = charge->accounts[i];

                assert(account->bytes >= charge->bytes);
                assert(account->buffers >= charge->buffers);
                account->bytes -= charge->bytes;
                account->buffers -= charge->buffers;

                if (charge->reserved) {
                        assert(account->reserved_bytes >= charge->bytes);
                        account->reserved_bytes -= charge->bytes;
                }
        }

        *charge = (QuotaCharge) {};
}

int quota_shares_get(QuotaShares *shares, const void *key, QuotaShare **ret) {
        for (QuotaShare *share = shares->first; share; share = share->next)
                if (share->key == key) {
                        *ret = share;
                        return 0;
                }

        QuotaShare *share = calloc(1, sizeof(*share));
        if (!share)
                return -ENOMEM;

        share->key = key;
        share->next = shares->first;
        shares->first = share;

        *ret = share;
        return 0;
}

void quota_shares_done(QuotaShares *shares) {
        while (shares->first) {
                QuotaShare *share = shares->first;

                shares->first = share->next;
                quota_account_done(&share->account);
                free(share);
        }
}
