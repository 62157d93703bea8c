/* SPDX-License-Identifier: GPL-2.0-only */

/* The sums of bytes of each control group, and the hash table that holds them. */

#include "limits/cgroup-bytes.h"
#include "unit.h"

static void test_levels(void **state) {
        _cleanup_(cgroup_bytes_freep) CgroupBytes *bytes = cgroup_bytes_new();
        const CgroupIds one = { { 11, 10, 1 }, 3 }, two = { { 12, 10, 1 }, 3 }, root = {};
        (void) state;

        assert_int_equal(cgroup_bytes_add(bytes, &one, 100), 0);
        assert_int_equal(cgroup_bytes_add(bytes, &two, 7), 0);
        assert_int_equal(cgroup_bytes_add(bytes, &one, 1), 0);
        assert_int_equal(cgroup_bytes_add(bytes, &root, 1000), 0); /* the root has no id, and no sum */
        assert_int_equal(cgroup_bytes_get(11, bytes), 101);
        assert_int_equal(cgroup_bytes_get(12, bytes), 7);
        assert_int_equal(cgroup_bytes_get(10, bytes), 108);
        assert_int_equal(cgroup_bytes_get(1, bytes), 108);
        assert_int_equal(cgroup_bytes_get(13, bytes), 0);
        assert_int_equal(cgroup_bytes_get(0, bytes), 0);

        cgroup_bytes_subtract(bytes, &one, 100);
        assert_int_equal(cgroup_bytes_get(11, bytes), 1);
        assert_int_equal(cgroup_bytes_get(10, bytes), 8);
        cgroup_bytes_subtract(bytes, &one, 1);
        cgroup_bytes_subtract(bytes, &root, 1000);
        assert_int_equal(cgroup_bytes_get(11, bytes), 0);
        assert_int_equal(cgroup_bytes_get(12, bytes), 7);
        assert_int_equal(cgroup_bytes_get(1, bytes), 7);
        cgroup_bytes_subtract(bytes, &two, 7);
        for (uint64_t id = 0; id < 20; id++)
                assert_int_equal(cgroup_bytes_get(id, bytes), 0);
}

/* Sums of 0 have no slot, and the table can be used again after its last sum is gone. */
static void test_nothing(void **state) {
        _cleanup_(cgroup_bytes_freep) CgroupBytes *bytes = cgroup_bytes_new();
        const CgroupIds ids = { { 5 }, 1 };
        (void) state;

        for (unsigned round = 0; round < 3; round++) {
                cgroup_bytes_subtract(bytes, &ids, 0);
                assert_int_equal(cgroup_bytes_add(bytes, &ids, 0), 0);
                assert_int_equal(cgroup_bytes_get(5, bytes), 0);
                assert_int_equal(cgroup_bytes_add(bytes, &ids, UINT64_MAX), 0);
                assert_int_equal(cgroup_bytes_get(5, bytes), UINT64_MAX);
                cgroup_bytes_subtract(bytes, &ids, UINT64_MAX);
        }
}

/* Removing any one of 16 ids leaves the others, in whatever slots they are. */
static void test_collisions(void **state) {
        _cleanup_(cgroup_bytes_freep) CgroupBytes *bytes = cgroup_bytes_new();
        CgroupIds ids = { .n = CGROUP_IDS_MAX };
        (void) state;

        for (unsigned round = 0; round < 200; round++) {
                for (size_t i = 0; i < CGROUP_IDS_MAX; i++)
                        ids.ids[i] = 1 + round * CGROUP_IDS_MAX + i;
                assert_int_equal(cgroup_bytes_add(bytes, &ids, 3), 0);

                for (size_t gone = 0; gone < CGROUP_IDS_MAX; gone++) {
                        const CgroupIds one = { { ids.ids[gone] }, 1 };

                        cgroup_bytes_subtract(bytes, &one, 3);
                        for (size_t i = 0; i < CGROUP_IDS_MAX; i++)
                                assert_int_equal(cgroup_bytes_get(ids.ids[i], bytes), i == gone ? 0 : 3);
                        assert_int_equal(cgroup_bytes_add(bytes, &one, 3), 0);
                }
                cgroup_bytes_subtract(bytes, &ids, 3);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_levels),
                cmocka_unit_test(test_nothing),
                cmocka_unit_test(test_collisions),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
