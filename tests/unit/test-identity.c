/* SPDX-License-Identifier: GPL-2.0-only */

/* A copy of an identity owns its strings, and a comparison takes every member into account. test-client.c tests
 * identity_is_same_client(). */

#include "limits/identity.h"
#include "unit.h"

static const Identity camera = {
        .unit = (char *) "camera.service",
        .unit_is_user = true,
        .cgroup = (char *) "/system.slice/camera.service",
        .cgroup_ids = { { 4711, 42 }, 2 },
        .uid = 1000,
        .user = 1001,
};

static void test_copy(void **state) {
        const Identity bare = { .cgroup = (char *) "/" };
        Identity copy;
        (void) state;

        assert_int_equal(identity_copy(&camera, &copy), 0);
        assert_ptr_not_equal(copy.unit, camera.unit);
        assert_ptr_not_equal(copy.cgroup, camera.cgroup);
        assert_int_equal(identity_compare(&copy, &camera), 0);
        identity_done(&copy);
        assert_null(copy.unit);
        assert_null(copy.cgroup);
        assert_int_equal(copy.uid, 0);
        identity_done(&copy);

        assert_int_equal(identity_copy(&bare, &copy), 0);
        assert_null(copy.unit);
        assert_string_equal(copy.cgroup, "/");
        identity_done(&copy);
}

/* Each row is greater than the one above it. */
static void test_compare(void **state) {
        const Identity rows[] = {
                { .cgroup = (char *) "/a", .cgroup_ids = { { 7, 8 }, 2 } },
                { .cgroup = (char *) "/a", .cgroup_ids = { { 7, 8 }, 2 }, .unit = (char *) "a.service" },
                { .cgroup = (char *) "/a", .cgroup_ids = { { 7, 8 }, 2 }, .unit = (char *) "b.service" },
                { .cgroup = (char *) "/b", .cgroup_ids = { { 7, 8 }, 2 }, .unit = (char *) "b.service" },
                { .cgroup = (char *) "/b", .cgroup_ids = { { 7, 9 }, 2 }, .unit = (char *) "b.service" },
                { .cgroup = (char *) "/b", .cgroup_ids = { { 7, 9, 1 }, 3 }, .unit = (char *) "b.service" },
                { .cgroup = (char *) "/b",
                        .cgroup_ids = { { 7, 9, 1 }, 3 },
                        .unit = (char *) "b.service",
                        .unit_is_user = true },
                { .cgroup = (char *) "/b", .cgroup_ids = { { 7, 9, 1 }, 3 }, .unit = (char *) "b.service", .user = 1 },
                { .cgroup = (char *) "/b", .cgroup_ids = { { 7, 9, 1 }, 3 }, .unit = (char *) "b.service", .uid = 1 },
        };
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                for (size_t j = 0; j < ELEMENTSOF(rows); j++) {
                        int c = identity_compare(&rows[i], &rows[j]);

                        if ((c > 0) - (c < 0) != (i > j) - (i < j))
                                fail_msg("rows %zu and %zu compare as %d", i, j, c);
                }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_copy),
                cmocka_unit_test(test_compare),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
