/* SPDX-License-Identifier: GPL-2.0-only */

/* Which texts are values, and which value each is. */

#include "config/config-value.h"
#include "unit.h"

static void test_amounts(void **state) {
        PolicyAmount a = {};
        (void) state;

        static const struct {
                const char *text;
                PolicyAmountKind kind;
                uint64_t value;
        } amounts[] = {
                { "0", POLICY_AMOUNT_NUMBER, 0 },
                { "4096", POLICY_AMOUNT_NUMBER, 4096 },
                { "16K", POLICY_AMOUNT_NUMBER, 16384 },
                { "1G", POLICY_AMOUNT_NUMBER, 1 << 30 },
                { "8388607T", POLICY_AMOUNT_NUMBER, UINT64_C(8388607) << 40 },
                { "9223372036854775807", POLICY_AMOUNT_NUMBER, INT64_MAX },
                { "infinity", POLICY_AMOUNT_NUMBER, LIMIT_INFINITY },
                { "0%", POLICY_AMOUNT_PERCENT, 0 },
                { "100%", POLICY_AMOUNT_PERCENT, 10000 },
                { "12.5%", POLICY_AMOUNT_PERCENT, 1250 },
                { "0.05%", POLICY_AMOUNT_PERCENT, 5 },
        };
        for (size_t i = 0; i < ELEMENTSOF(amounts); i++) {
                assert_int_equal(config_parse_amount(amounts[i].text, &a), 0);
                assert_int_equal(a.kind, amounts[i].kind);
                assert_int_equal(a.value, amounts[i].value);
        }

        static const char *const no_amounts[] = {
                "",
                " 1",
                "1 ",
                "-1",
                "+1",
                "0x10",
                "1k",
                "1KB",
                "1KK",
                "1.5G",
                "1.5",
                "1.%",
                "1.555%",
                "100.01%",
                "101%",
                "1000000000000000000%",
                "9223372036854775808",
                "8388608T",
                "18446744073709551616",
                "99999999999999999999999",
                "inf",
                "%",
                "K",
        };
        for (size_t i = 0; i < ELEMENTSOF(no_amounts); i++)
                assert_int_equal(config_parse_amount(no_amounts[i], &a), -EINVAL);
}

static void test_spans(void **state) {
        uint64_t usec;
        (void) state;

        assert_int_equal(config_parse_usec("30", &usec), 0);
        assert_int_equal(usec, 30000000);
        assert_int_equal(config_parse_usec("1min 30s", &usec), 0);
        assert_int_equal(usec, 90000000);
        assert_int_equal(config_parse_usec("1h2m3sec4ms5us", &usec), 0);
        assert_int_equal(usec, UINT64_C(3723004005));
        assert_int_equal(config_parse_usec("infinity", &usec), 0);
        assert_int_equal(usec, UINT64_MAX);
        static const char *const no_spans[] = { "", "s", "-1s", "1x", "1s,", "1.5s", "9223372036854775807s", "1 s" };
        for (size_t i = 0; i < ELEMENTSOF(no_spans); i++)
                assert_int_equal(config_parse_usec(no_spans[i], &usec), -EINVAL);
}

static void test_booleans(void **state) {
        static const char *const yes[] = { "yes", "true", "on", "1" };
        static const char *const no[] = { "no", "false", "off", "0" };
        bool b;
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(yes); i++) {
                b = false;
                assert_int_equal(config_parse_boolean(yes[i], &b), 0);
                assert_true(b);
                assert_int_equal(config_parse_boolean(no[i], &b), 0);
                assert_false(b);
        }

        assert_int_equal(config_parse_boolean("yes", &b), 0);
        assert_true(b);
        assert_int_equal(config_parse_boolean("off", &b), 0);
        assert_false(b);
        assert_int_equal(config_parse_boolean("maybe", &b), -EINVAL);
}

static void test_units(void **state) {
        (void) state;

        assert_true(config_unit_is_valid("dbus-:1.2-org.example@0.service"));
        assert_false(config_unit_is_valid("camera"));
        assert_false(config_unit_is_valid(".service"));
        assert_false(config_unit_is_valid("a/b.service"));
        assert_false(config_unit_is_valid("boot.target"));

        char longest[257] = {};
        memset(longest, 'a', 256);
        memcpy(longest + 255 - strlen(".scope"), ".scope", sizeof(".scope"));
        assert_true(config_unit_is_valid(longest));
        memset(longest, 'a', 256);
        memcpy(longest + 256 - strlen(".scope"), ".scope", sizeof(".scope"));
        assert_false(config_unit_is_valid(longest));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_amounts),
                cmocka_unit_test(test_spans),
                cmocka_unit_test(test_booleans),
                cmocka_unit_test(test_units),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
