/* SPDX-License-Identifier: GPL-2.0-only */

/* The limits and permissions that follow from rules, without any configuration file. */

#include "limits/policy.h"
#include "unit.h"

#define MIB (UINT64_C(1024) * 1024)
#define GIB (1024 * MIB)

static const Policy defaults = {
        .enforce = true,
        .client_bytes_max = { POLICY_AMOUNT_PERCENT, 2500 },
        .client_buffers_max = { POLICY_AMOUNT_NUMBER, 1024 },
        .user_bytes_max = { POLICY_AMOUNT_PERCENT, 5000 },
        .system_bytes_max = { POLICY_AMOUNT_PERCENT, 7500 },
        .keep_available = { POLICY_AMOUNT_PERCENT, 500 },
};

static const PolicyTarget cma = {
        .names = (const char *const[]) { "default_cma_region", "reserved" },
        .n_names = 2,
        .size = 64 * MIB,
};
static const PolicyTarget system_heap = { .names = (const char *const[]) { "system" }, .n_names = 1 };

static void test_amount(void **state) {
        (void) state;

        assert_int_equal(policy_amount_resolve((PolicyAmount) {}, 100, 7), 7);
        assert_int_equal(policy_amount_resolve((PolicyAmount) { POLICY_AMOUNT_NUMBER, 0 }, 100, 7), 0);
        assert_int_equal(policy_amount_resolve((PolicyAmount) { POLICY_AMOUNT_NUMBER, LIMIT_INFINITY }, 100, 7),
                        LIMIT_INFINITY);
        assert_int_equal(policy_amount_resolve((PolicyAmount) { POLICY_AMOUNT_PERCENT, 0 }, 100, 7), 0);
        assert_int_equal(policy_amount_resolve((PolicyAmount) { POLICY_AMOUNT_PERCENT, 2500 }, 103, 7), 25);
        assert_int_equal(policy_amount_resolve((PolicyAmount) { POLICY_AMOUNT_PERCENT, 10000 }, UINT64_MAX, 7),
                        UINT64_MAX);
        assert_int_equal(policy_amount_resolve((PolicyAmount) { POLICY_AMOUNT_PERCENT, 5000 }, UINT64_MAX, 7),
                        UINT64_MAX / 2);
        assert_int_equal(policy_amount_resolve((PolicyAmount) { POLICY_AMOUNT_PERCENT, 1 }, 9999, 7), 0);
        assert_int_equal(policy_amount_resolve((PolicyAmount) { POLICY_AMOUNT_PERCENT, 1 }, 10000, 7), 1);
}

static void test_defaults(void **state) {
        const Identity identity = { .unit = (char *) "a.service", .uid = 1000 };
        PolicyLimits limits;
        (void) state;

        policy_limits(&defaults, &identity, NULL, 4 * GIB, &limits);
        assert_int_equal(limits.client_bytes, GIB);
        assert_int_equal(limits.client_buffers, 1024);
        assert_int_equal(limits.user_bytes, 2 * GIB);
        assert_int_equal(limits.system_bytes, 3 * GIB);
        assert_int_equal(limits.keep_available, 4 * GIB / 20);
        assert_int_equal(limits.heap_client_bytes, LIMIT_INFINITY);
        assert_int_equal(limits.heap_bytes, LIMIT_INFINITY);

        policy_limits(&defaults, &identity, &system_heap, 4 * GIB, &limits);
        assert_int_equal(limits.heap_client_bytes, LIMIT_INFINITY);
        assert_int_equal(limits.heap_bytes, LIMIT_INFINITY);
        assert_int_equal(limits.heap_others_bytes, LIMIT_INFINITY);

        policy_limits(&defaults, &identity, &cma, 4 * GIB, &limits);
        assert_int_equal(limits.heap_client_bytes, 32 * MIB);
        assert_int_equal(limits.heap_bytes, 64 * MIB);
        assert_int_equal(limits.heap_others_bytes, 64 * MIB);
        assert_false(limits.heap_has_reserve);
        assert_true(policy_may_use(&defaults, &(PolicySubject) { .identity = &identity }, &cma));
}

static void test_enforce_no(void **state) {
        const Identity identity = { .uid = 1000 };
        PolicyHeap heap = { .name = (char *) "reserved", .restricted = 1 };
        Policy policy = defaults;
        PolicyLimits limits;
        (void) state;

        policy.enforce = false;
        policy.heaps = &heap;
        policy.n_heaps = 1;
        policy_limits(&policy, &identity, &cma, GIB, &limits);
        assert_int_equal(limits.client_bytes, LIMIT_INFINITY);
        assert_int_equal(limits.client_buffers, LIMIT_INFINITY);
        assert_int_equal(limits.heap_bytes, LIMIT_INFINITY);
        assert_int_equal(limits.keep_available, 0);

        /* Enforce=no is about limits, not about permissions. */
        assert_false(policy_may_use(&policy, &(PolicySubject) { .identity = &identity }, &cma));
}

static void test_client_section(void **state) {
        PolicyClient clients[] = {
                { (char *) "camera.service", { POLICY_AMOUNT_NUMBER, 3 * GIB }, { POLICY_AMOUNT_NUMBER, 4096 } },
                { (char *) "half.service", { POLICY_AMOUNT_PERCENT, 5000 }, {} },
        };
        Policy policy = defaults;
        Identity identity = { .unit = (char *) "camera.service" };
        PolicyLimits limits;
        (void) state;

        policy.clients = clients;
        policy.n_clients = 2;
        policy_limits(&policy, &identity, NULL, 4 * GIB, &limits);
        assert_int_equal(limits.client_bytes, 3 * GIB);
        assert_int_equal(limits.client_buffers, 4096);

        /* A unit of a user's manager may have any name, so no rule is for it. */
        identity.unit_is_user = true;
        policy_limits(&policy, &identity, NULL, 4 * GIB, &limits);
        assert_int_equal(limits.client_bytes, GIB);
        assert_int_equal(limits.client_buffers, 1024);

        identity = (Identity) { .unit = (char *) "half.service" };
        policy_limits(&policy, &identity, NULL, 4 * GIB, &limits);
        assert_int_equal(limits.client_bytes, 2 * GIB);
        assert_int_equal(limits.client_buffers, 1024);

        identity = (Identity) {};
        policy_limits(&policy, &identity, NULL, 4 * GIB, &limits);
        assert_int_equal(limits.client_bytes, GIB);
}

static void test_reserve(void **state) {
        PolicyHeap heap = {
                .name = (char *) "default_cma_region",
                .reserve_bytes = { POLICY_AMOUNT_NUMBER, 16 * MIB },
                .reserve_for = (char *[]) { (char *) "camera.service", NULL },
        };
        Policy policy = defaults;
        Identity camera = { .unit = (char *) "camera.service" }, other = { .unit = (char *) "other.service" };
        PolicyLimits limits;
        (void) state;

        policy.heaps = &heap;
        policy.n_heaps = 1;

        policy_limits(&policy, &other, &cma, GIB, &limits);
        assert_int_equal(limits.heap_others_bytes, 48 * MIB);
        assert_int_equal(limits.heap_bytes, 64 * MIB);
        assert_false(limits.heap_has_reserve);

        policy_limits(&policy, &camera, &cma, GIB, &limits);
        assert_true(limits.heap_has_reserve);
        assert_int_equal(limits.heap_others_bytes, LIMIT_INFINITY);
        assert_int_equal(limits.heap_client_bytes, 32 * MIB);

        /* The camera.service of a user's manager has no part in the reserve. */
        camera.unit_is_user = true;
        policy_limits(&policy, &camera, &cma, GIB, &limits);
        assert_false(limits.heap_has_reserve);
        assert_int_equal(limits.heap_others_bytes, 48 * MIB);
        camera.unit_is_user = false;

        /* The unit may hold the whole reserve, although a client may hold only half of the region. */
        heap.reserve_bytes = (PolicyAmount) { POLICY_AMOUNT_PERCENT, 7500 };
        policy_limits(&policy, &camera, &cma, GIB, &limits);
        assert_int_equal(limits.heap_client_bytes, 48 * MIB);
        policy_limits(&policy, &other, &cma, GIB, &limits);
        assert_int_equal(limits.heap_client_bytes, 32 * MIB);
        assert_int_equal(limits.heap_others_bytes, 16 * MIB);

        /* A reserve larger than the region leaves nothing for others, and no subtraction wraps. */
        heap.reserve_bytes = (PolicyAmount) { POLICY_AMOUNT_NUMBER, 65 * MIB };
        policy_limits(&policy, &other, &cma, GIB, &limits);
        assert_int_equal(limits.heap_others_bytes, 0);

        /* A heap without bounds has no reserve. */
        heap.name = (char *) "system";
        policy_limits(&policy, &other, &system_heap, GIB, &limits);
        assert_int_equal(limits.heap_others_bytes, LIMIT_INFINITY);
}

/* Two names for one region: the rules for either bind both, in whichever order. */
static void test_names_of_a_region(void **state) {
        PolicyHeap heaps[] = {
                { .name = (char *) "default_cma_region", .client_bytes_max = { POLICY_AMOUNT_NUMBER, 8 * MIB } },
                { .name = (char *) "reserved",
                        .client_bytes_max = { POLICY_AMOUNT_NUMBER, 4 * MIB },
                        .restricted = 1,
                        .allow_uids = (uid_t[]) { 1000 },
                        .n_allow_uids = 1 },
        };
        Policy policy = defaults;
        const Identity user = { .uid = 1000 }, stranger = { .uid = 1001 };
        PolicyLimits limits;
        (void) state;

        policy.heaps = heaps;
        policy.n_heaps = 2;
        policy_limits(&policy, &user, &cma, GIB, &limits);
        assert_int_equal(limits.heap_client_bytes, 4 * MIB);
        assert_true(policy_may_use(&policy, &(PolicySubject) { .identity = &user }, &cma));
        assert_false(policy_may_use(&policy, &(PolicySubject) { .identity = &stranger }, &cma));
        assert_true(policy_may_use(&policy, &(PolicySubject) { .identity = &stranger }, &system_heap));

        /* The smaller of two limits and the larger of two reserves, and the reserve is for the units of both. */
        heaps[0].client_bytes_max.value = 3 * MIB;
        heaps[0].reserve_bytes = (PolicyAmount) { POLICY_AMOUNT_NUMBER, 16 * MIB };
        heaps[1].reserve_bytes = (PolicyAmount) { POLICY_AMOUNT_NUMBER, 8 * MIB };
        heaps[1].reserve_for = (char *[]) { (char *) "camera.service", NULL };
        policy_limits(&policy, &user, &cma, GIB, &limits);
        assert_int_equal(limits.heap_client_bytes, 3 * MIB);
        assert_int_equal(limits.heap_others_bytes, 48 * MIB);
        policy_limits(&policy, &(Identity) { .unit = (char *) "camera.service" }, &cma, GIB, &limits);
        assert_true(limits.heap_has_reserve);
        assert_int_equal(limits.heap_client_bytes, 16 * MIB);
}

static void test_allow(void **state) {
        PolicyHeap heap = {
                .name = (char *) "system",
                .restricted = 7,
                .allow_uids = (uid_t[]) { 1000, 1001 },
                .n_allow_uids = 2,
                .allow_gids = (gid_t[]) { 44 },
                .n_allow_gids = 1,
                .allow_units = (char *[]) { (char *) "camera.service", NULL },
        };
        Policy policy = defaults;
        Identity identity = { .uid = 1001 };
        PolicySubject subject = { .identity = &identity };
        (void) state;

        policy.heaps = &heap;
        policy.n_heaps = 1;
        assert_true(policy_may_use(&policy, &subject, &system_heap));

        identity = (Identity) { .uid = 0 };
        assert_false(policy_may_use(&policy, &subject, &system_heap));

        identity = (Identity) { .uid = 5 };
        subject = (PolicySubject) { .identity = &identity, .gids = (gid_t[]) { 5, 44 }, .n_gids = 2 };
        assert_true(policy_may_use(&policy, &subject, &system_heap));

        identity = (Identity) { .uid = 5, .unit = (char *) "camera.service" };
        subject = (PolicySubject) { .identity = &identity };
        assert_true(policy_may_use(&policy, &subject, &system_heap));
        identity.unit_is_user = true;
        assert_false(policy_may_use(&policy, &subject, &system_heap));

        /* A rule whose lists have no existing name admits nobody. */
        heap = (PolicyHeap) { .name = (char *) "system", .restricted = 1 };
        identity = (Identity) { .uid = 0 };
        assert_false(policy_may_use(&policy, &subject, &system_heap));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_amount),
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_enforce_no),
                cmocka_unit_test(test_client_section),
                cmocka_unit_test(test_reserve),
                cmocka_unit_test(test_names_of_a_region),
                cmocka_unit_test(test_allow),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
