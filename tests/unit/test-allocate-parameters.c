/* SPDX-License-Identifier: GPL-2.0-only */

/* The parameters of Allocate, each at its limits and one past them. */

#include "unit.h"
#include "varlink/allocate-parameters.h"

static const char *check(const AllocateParameters *parameters) {
        return allocate_parameters_check(parameters) ?: "none";
}
#define CHECK(...) check(&(AllocateParameters) { __VA_ARGS__ })
#define ONE_BYTE .size = 1, .n_buffers = 1

static void test_parameters(void **state) {
        char name[66], label[33];
        (void) state;

        assert_string_equal(CHECK(ONE_BYTE), "none");
        assert_string_equal(CHECK(.size = 0, .n_buffers = 1), "size");
        assert_string_equal(CHECK(.size = UINT64_C(1) << 47, .n_buffers = 1), "none");
        assert_string_equal(CHECK(.size = (UINT64_C(1) << 47) + 1, .n_buffers = 1), "size");
        assert_string_equal(CHECK(.size = 1, .n_buffers = 0), "count");
        assert_string_equal(CHECK(.size = 1, .n_buffers = 253), "none");
        assert_string_equal(CHECK(.size = 1, .n_buffers = 254), "count");
        assert_string_equal(CHECK(.size = 1, .n_buffers = (UINT64_C(1) << 32) + 1), "count");

        memset(label, '~', sizeof(label));
        label[32] = 0;
        assert_string_equal(CHECK(ONE_BYTE, .label = label), "label");
        label[31] = 0;
        assert_string_equal(CHECK(ONE_BYTE, .label = label), "none");
        assert_string_equal(CHECK(ONE_BYTE, .label = ""), "label");
        assert_string_equal(CHECK(ONE_BYTE, .label = " "), "none");
        assert_string_equal(CHECK(ONE_BYTE, .label = "a\x1f"), "label");
        assert_string_equal(CHECK(ONE_BYTE, .label = "a\x7f"), "label");
        assert_string_equal(CHECK(ONE_BYTE, .label = "a\xc3\xa4"), "label");

        memset(name, 'a', sizeof(name));
        name[65] = 0;
        assert_string_equal(CHECK(ONE_BYTE, .heap = name), "heap");
        assert_string_equal(CHECK(ONE_BYTE, .role = name), "role");
        name[64] = 0;
        assert_string_equal(CHECK(ONE_BYTE, .heap = name), "none");
        assert_string_equal(CHECK(ONE_BYTE, .role = name), "none");
        assert_string_equal(CHECK(ONE_BYTE, .heap = ""), "heap");
        assert_string_equal(CHECK(ONE_BYTE, .heap = "../x"), "heap");
        assert_string_equal(CHECK(ONE_BYTE, .role = ""), "role");
        assert_string_equal(CHECK(ONE_BYTE, .heap = "a", .role = "b"), "role");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parameters),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
