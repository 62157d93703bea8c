/* SPDX-License-Identifier: GPL-2.0-only */

/* Charges and limits to the exact byte and buffer, also where a sum passes 2^64 - 1. */

#include <errno.h>

#include "limits/quota.h"
#include "unit.h"

static void test_multiply(void **state) {
        uint64_t product = 7;
        (void) state;

        assert_int_equal(quota_multiply(UINT64_C(1) << 47, 253, &product), 0);
        assert_int_equal(product, (UINT64_C(1) << 47) * 253);
        assert_int_equal(quota_multiply(UINT64_C(1) << 32, (UINT64_C(1) << 32) - 1, &product), 0);

        product = 7;
        assert_int_equal(quota_multiply(UINT64_C(1) << 32, UINT64_C(1) << 32, &product), -EOVERFLOW);
        assert_int_equal(product, 7);
}

static void test_exact_limit(void **state) {
        QuotaAccount client = {};
        QuotaCharge a = {}, b = {}, c = {};
        QuotaRefusal refusal;
        QuotaDemand demand = {
                .scope = QUOTA_SCOPE_CLIENT,
                .name = "camera.service",
                .account = &client,
                .bytes_max = 8192,
                .buffers_max = 3,
        };
        (void) state;

        assert_int_equal(quota_reserve(&a, &demand, 1, 4096, 1, &refusal), 0);
        assert_int_equal(quota_reserve(&b, &demand, 1, 4096, 1, &refusal), 0);

        /* One byte more is refused, and the report is exact. */
        assert_int_equal(quota_reserve(&c, &demand, 1, 1, 1, &refusal), -EDQUOT);
        assert_true(quota_charge_is_empty(&c));
        assert_int_equal(refusal.index, 0);
        assert_int_equal(refusal.scope, QUOTA_SCOPE_CLIENT);
        assert_string_equal(refusal.name, "camera.service");
        assert_int_equal(refusal.resource, QUOTA_RESOURCE_BYTES);
        assert_int_equal(refusal.limit, 8192);
        assert_int_equal(refusal.used, 8192);
        assert_int_equal(refusal.requested, 1);

        /* Freeing one makes room for exactly one. */
        quota_uncharge(&a);
        assert_int_equal(quota_reserve(&c, &demand, 1, 4097, 1, NULL), -EDQUOT);
        assert_int_equal(quota_reserve(&c, &demand, 1, 4096, 1, NULL), 0);
        assert_int_equal(client.bytes, 8192);
        assert_int_equal(client.buffers, 2);

        quota_uncharge(&b);
        quota_uncharge(&c);
        quota_account_done(&client);
}

static void test_buffers(void **state) {
        QuotaAccount client = {};
        QuotaCharge a = {}, b = {};
        QuotaRefusal refusal;
        QuotaDemand demand = {
                .scope = QUOTA_SCOPE_CLIENT,
                .account = &client,
                .bytes_max = LIMIT_INFINITY,
                .buffers_max = 3,
        };
        (void) state;

        assert_int_equal(quota_reserve(&a, &demand, 1, 0, 4, &refusal), -EDQUOT);
        assert_int_equal(refusal.resource, QUOTA_RESOURCE_BUFFERS);
        assert_int_equal(refusal.limit, 3);
        assert_int_equal(refusal.used, 0);
        assert_int_equal(refusal.requested, 4);

        assert_int_equal(quota_reserve(&a, &demand, 1, 0, 3, NULL), 0);
        assert_int_equal(quota_reserve(&b, &demand, 1, 0, 1, &refusal), -EDQUOT);
        assert_int_equal(refusal.used, 3);
        quota_uncharge(&a);
        quota_account_done(&client);
}

static void test_all_or_nothing(void **state) {
        QuotaAccount client = {}, user = {}, heap = {}, system = {};
        QuotaCharge charge = {};
        QuotaRefusal refusal;
        QuotaDemand demands[] = {
                { QUOTA_SCOPE_CLIENT, "a.service", &client, 1000, 10 },
                { QUOTA_SCOPE_USER, "1000", &user, 500, LIMIT_INFINITY },
                { QUOTA_SCOPE_HEAP, "system", &heap, 400, LIMIT_INFINITY },
                { QUOTA_SCOPE_SYSTEM, NULL, &system, LIMIT_INFINITY, LIMIT_INFINITY },
        };
        (void) state;

        /* The first limit that refuses is reported, although the next one would refuse as well. */
        assert_int_equal(quota_reserve(&charge, demands, 4, 501, 1, &refusal), -EDQUOT);
        assert_int_equal(refusal.index, 1);
        assert_int_equal(refusal.scope, QUOTA_SCOPE_USER);
        assert_int_equal(quota_reserve(&charge, demands, 4, 401, 1, &refusal), -EDQUOT);
        assert_int_equal(refusal.index, 2);
        assert_string_equal(refusal.name, "system");

        /* A refused request is charged to no account. */
        quota_account_done(&client);
        quota_account_done(&user);
        quota_account_done(&heap);
        quota_account_done(&system);

        assert_int_equal(quota_reserve(&charge, demands, 4, 400, 1, NULL), 0);
        assert_int_equal(system.bytes, 400);
        assert_int_equal(system.buffers, 1);
        assert_int_equal(system.reserved_bytes, 400);

        quota_uncharge(&charge);
        quota_uncharge(&charge);
        quota_account_done(&system);
        quota_account_done(&client);
}

static void test_overflow(void **state) {
        QuotaAccount account = {};
        QuotaCharge a = {}, b = {};
        QuotaRefusal refusal;
        QuotaDemand demand = { QUOTA_SCOPE_SYSTEM, NULL, &account, LIMIT_INFINITY, LIMIT_INFINITY };
        (void) state;

        assert_int_equal(quota_reserve(&a, &demand, 1, UINT64_MAX, 1, NULL), 0);
        assert_int_equal(quota_reserve(&b, &demand, 1, 1, 0, &refusal), -EDQUOT);
        assert_int_equal(refusal.resource, QUOTA_RESOURCE_BYTES);
        assert_int_equal(refusal.used, UINT64_MAX);
        assert_int_equal(quota_reserve(&b, &demand, 1, 0, UINT64_MAX, &refusal), -EDQUOT);
        assert_int_equal(refusal.resource, QUOTA_RESOURCE_BUFFERS);
        quota_uncharge(&a);
        quota_account_done(&account);
}

/* A limit that has fallen below what is used takes nothing away, and refuses every request. */
static void test_limit_lowered(void **state) {
        QuotaAccount account = {};
        QuotaCharge a = {}, b = {};
        QuotaDemand demand = { QUOTA_SCOPE_SYSTEM, NULL, &account, 100, LIMIT_INFINITY };
        (void) state;

        assert_int_equal(quota_reserve(&a, &demand, 1, 100, 1, NULL), 0);
        demand.bytes_max = 50;
        assert_int_equal(quota_reserve(&b, &demand, 1, 1, 1, NULL), -EDQUOT);
        assert_int_equal(account.bytes, 100);
        quota_uncharge(&a);
        quota_account_done(&account);
}

static void test_split(void **state) {
        QuotaAccount client = {}, system = {};
        QuotaCharge reservation = {}, buffers[3] = {};
        QuotaDemand demands[] = {
                { QUOTA_SCOPE_CLIENT, NULL, &client, 12288, 3 },
                { QUOTA_SCOPE_SYSTEM, NULL, &system, LIMIT_INFINITY, LIMIT_INFINITY },
        };
        (void) state;

        assert_int_equal(quota_reserve(&reservation, demands, 2, 12288, 3, NULL), 0);
        for (unsigned i = 0; i < 3; i++) {
                assert_int_equal(client.reserved_bytes, 12288 - i * 4096);
                quota_charge_split(&reservation, 4096, &buffers[i]);
                assert_int_equal(client.bytes, 12288);
                assert_int_equal(client.buffers, 3);
        }
        assert_int_equal(system.reserved_bytes, 0);

        /* The reservation is used up, so giving it back changes nothing. */
        quota_uncharge(&reservation);
        assert_int_equal(client.bytes, 12288);

        quota_uncharge(&buffers[0]);
        assert_int_equal(client.bytes, 8192);
        assert_int_equal(client.buffers, 2);
        quota_uncharge(&buffers[1]);
        quota_uncharge(&buffers[2]);
        quota_account_done(&client);
        quota_account_done(&system);
}

static void test_force(void **state) {
        QuotaAccount client = {}, system = {};
        QuotaCharge charge = {};
        (void) state;

        QuotaDemand demands[] = {
                { QUOTA_SCOPE_CLIENT, NULL, &client, 100, 0 },
                { QUOTA_SCOPE_SYSTEM, NULL, &system, 100, 0 },
        };

        /* Both limits are passed. */
        quota_charge_force(&charge, demands, 2, 4096, 1);
        assert_int_equal(client.bytes, 4096);
        assert_int_equal(client.reserved_bytes, 0);
        assert_int_equal(system.bytes, 4096);
        assert_int_equal(system.buffers, 1);
        quota_uncharge(&charge);
        quota_account_done(&client);
        quota_account_done(&system);
}

static void test_shares(void **state) {
        QuotaShares shares = {};
        QuotaShare *a, *b, *again;
        const int x = 0, y = 0;
        (void) state;

        assert_int_equal(quota_shares_get(&shares, &x, &a), 0);
        assert_int_equal(quota_shares_get(&shares, &y, &b), 0);
        assert_int_equal(quota_shares_get(&shares, &x, &again), 0);
        assert_ptr_equal(a, again);
        assert_ptr_not_equal(a, b);
        quota_shares_done(&shares);
        assert_null(shares.first);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_multiply),
                cmocka_unit_test(test_exact_limit),
                cmocka_unit_test(test_buffers),
                cmocka_unit_test(test_all_or_nothing),
                cmocka_unit_test(test_overflow),
                cmocka_unit_test(test_limit_lowered),
                cmocka_unit_test(test_split),
                cmocka_unit_test(test_force),
                cmocka_unit_test(test_shares),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
