/* SPDX-License-Identifier: GPL-2.0-only */

#include <stdlib.h>

#include "unit.h"
#include "util/utf8.h"

static void assert_escaped(const char *s, const char *expected) {
        char *escaped = utf8_escape_invalid(s);

        assert_non_null(escaped);
        assert_string_equal(escaped, expected);
        free(escaped);
}

static void test_what_is_valid_stays(void **state) {
        static const char *const valid[] = {
                "",
                "/system.slice/a.service",
                "\x7f\t\n",
                "\xc2\x80",
                "\xdf\xbf",
                "\xe0\xa0\x80",
                "\xed\x9f\xbf",
                "\xee\x80\x80",
                "\xef\xbf\xbf",
                "\xf0\x90\x80\x80",
                "\xf4\x8f\xbf\xbf",
                "/\xc3\xa4/\xe2\x80\xa6",
                NULL,
        };
        (void) state;

        for (size_t i = 0; valid[i]; i++)
                assert_escaped(valid[i], valid[i]);
}

static void test_what_is_not_is_escaped(void **state) {
        (void) state;

        assert_escaped("\xff", "\\xff");
        assert_escaped("a\x80z", "a\\x80z");
        assert_escaped("\xc0\xaf", "\\xc0\\xaf"); /* overlong */
        assert_escaped("\xc1\xbf", "\\xc1\\xbf");
        assert_escaped("\xe0\x9f\xbf", "\\xe0\\x9f\\xbf");
        assert_escaped("\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf");
        assert_escaped("\xed\xa0\x80", "\\xed\\xa0\\x80");          /* a surrogate */
        assert_escaped("\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"); /* past U+10FFFF */
        assert_escaped("\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80");
        assert_escaped("\xe2\x80", "\\xe2\\x80"); /* cut off */
        assert_escaped("\xe2\x80/\xc3\xa4", "\\xe2\\x80/\xc3\xa4");
}

static void test_next_character(void **state) {
        static const char text[] = "a\xe2\x80\xa6z";
        (void) state;

        assert_ptr_equal(utf8_next_character(text), text);
        assert_ptr_equal(utf8_next_character(text + 1), text + 1);
        assert_ptr_equal(utf8_next_character(text + 2), text + 4);
        assert_ptr_equal(utf8_next_character(text + 3), text + 4);
        assert_ptr_equal(utf8_next_character(text + 5), text + 5);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_what_is_valid_stays),
                cmocka_unit_test(test_what_is_not_is_escaped),
                cmocka_unit_test(test_next_character),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
