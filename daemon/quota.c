/* SPDX-License-Identifier: GPL-2.0-only */

/* Whoever can be made to pay has an account: the client, the user, the client's share of a heap, the heap, the system. An
 * account is two sums and no more; it knows neither its limit nor who is charged to it. Limits come with each request, since
 * they may have changed with the configuration, and a limit that has sunk below what is used takes nothing away.
 *
 * A charge is a value inside the thing that is paid for, and remembers which accounts hold it. So whoever ends the thing
 * ends the charge, once, on every path: an empty charge is given back as often as you like. The accounts are freed by
 * their owners, which asserts that they are empty; a lost charge therefore stops the first test that loses it, instead of
 * making a client poorer day by day.
 *
 * A request is first checked against all its accounts and then charged to all: what is refused never held anything. */

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "quota.h"

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

static int check_demands(
                const QuotaDemand *demands, size_t n_demands, uint64_t bytes, uint64_t buffers, QuotaRefusal *ret_refusal) {

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

int quota_reserve(
                QuotaCharge *charge,
                const QuotaDemand *demands,
                size_t n_demands,
                uint64_t bytes,
                uint64_t buffers,
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
