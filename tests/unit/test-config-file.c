/* SPDX-License-Identifier: GPL-2.0-only */

/* How config-file.c reads the lines of a file: the value that each has, or the report. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config-file.h"
#include "unit.h"

typedef struct Problems {
        char text[1024]; /* "LINE: message\n" each */
} Problems;

static void on_problem(const char *path, unsigned line, const char *message, void *userdata) {
        Problems *problems = userdata;
        size_t n = strlen(problems->text);
        (void) path;

        (void) snprintf(problems->text + n, sizeof(problems->text) - n, "%u: %s\n", line, message);
}

/* Reads a file with this text, and asserts that exactly these problems are reported. */
static ConfigFile *read_text(const char *row, const char *text, size_t size, const char *expected) {
        _cleanup_(directory_removep) char *directory = directory_new();
        Problems problems = {};
        ConfigFile *file = NULL;
        char path[4096];
        unsigned n = 0;

        file_write(directory, "x.conf", text, size);
        (void) snprintf(path, sizeof(path), "%s/x.conf", directory);

        ConfigReporter reporter = { .on_problem = on_problem, .userdata = &problems, .path = path };
        assert_int_equal(config_file_read(&reporter, &file), 0);
        if (strcmp(problems.text, expected) != 0)
                fail_msg("'%s' reports '%s' and not '%s'", row, problems.text, expected);
        for (const char *p = expected; (p = strchr(p, '\n')); p++)
                n++;
        assert_int_equal(reporter.n_problems, n);
        return file;
}

/* Each line assigns to Key, and this is the value. */
static void test_values(void **state) {
        unsigned n_wrong = 0;
        (void) state;
        static const struct {
                const char *line;
                const char *value;
        } rows[] = {
                /* Blanks around the key and around the value mean nothing. */
                { "Key=value", "value" },
                { "Key=value ", "value" },
                { "Key = value", "value" },
                { "\t Key\t =\t \tvalue\t ", "value" },
                { "Key=two  words", "two  words" },
                { "Key=two\twords", "two\twords" },

                /* Nothing is a value, too. */
                { "Key=", "" },
                { "Key= ", "" },
                { "Key =\t", "" },
                { "Key=\"\"", "" },
                { "Key= \"\" ", "" },

                /* What follows the first '='. */
                { "Key==", "=" },
                { "Key==value", "=value" },
                { "Key= = value", "= value" },
                { "Key=a=b", "a=b" },
                { "Key=[a]", "[a]" },
                { "Key=a\\", "a\\" },
                { "Key=a\\n", "a\\n" },
                { "Key=\\", "\\" },
                { "Key='a'", "'a'" },
                { "Key='a # b'", "'a" },
                { "Key=\xc3\xa4\xc2\xa0", "\xc3\xa4\xc2\xa0" },
                { "Key=\xff", "\xff" },

                /* A comment needs no blank before it. */
                { "Key=value # comment", "value" },
                { "Key=value ; comment", "value" },
                { "Key=value#comment", "value" },
                { "Key=value;comment", "value" },
                { "Key=value\t#\tcomment", "value" },
                { "Key=two words # comment", "two words" },
                { "Key=#comment", "" },
                { "Key=;comment", "" },
                { "Key= # comment", "" },
                { "Key=value #", "value" },
                { "Key=value ;", "value" },
                { "Key=value # Key=other", "value" },
                { "Key=value # [Section]", "value" },
                { "Key=value # one ; two", "value" },
                { "Key=value ; one # two", "value" },
                { "Key=value ;# both", "value" },
                { "Key=value # it's one", "value" },
                { "Key=value\\# comment", "value\\" },

                /* It begins at the first '#' or ';', whatever it says. */
                { "Key=value # one # two", "value" },
                { "Key=value ## comment", "value" },
                { "Key=value ; one ; two", "value" },
                { "Key=value # a \"comment\"", "value" },
                { "Key=\"a\" # a \"comment\"", "a" },
                { "Key=value # \"", "value" },

                /* Quotes around all of the value. */
                { "Key=\"value\"", "value" },
                { "Key = \"value\" ", "value" },
                { "Key=\" value \"", " value " },
                { "Key=\"two words\"", "two words" },
                { "Key=\"a=b\"", "a=b" },
                { "Key=\"'\"", "'" },
                { "Key=\"a # b\"", "a # b" },
                { "Key=\"a ; b\"", "a ; b" },
                { "Key=\"#\"", "#" },
                { "Key=\"a\" # comment", "a" },
                { "Key=\"a # b\" # comment", "a # b" },
                { "Key=\"a ; b\" # comment", "a ; b" },
                { "Key=\"a # b\" ; comment", "a # b" },
                { "Key=\"\" # comment", "" },
                { "Key=\"a\\\"", "a\\" },

                /* Others are characters like any. */
                { "Key=\"", "\"" },
                { "Key=\"a", "\"a" },
                { "Key=a\"", "a\"" },
                { "Key=a \"b\"", "a \"b\"" },
                { "Key=a\"b\"c", "a\"b\"c" },
                { "Key=\"a\" b", "\"a\" b" },
                { "Key=\"a\"b\"", "a\"b" },
                { "Key=\"a\" \"b\"", "a\" \"b" },
                { "Key=\"\"\"", "\"" },
                { "Key=\"\"\"\"", "\"\"" },
                { "Key=\"a # comment", "\"a" },
                { "Key=a\" # comment", "a\"" },
                { "Key=a \"b # c\" d", "a \"b # c\" d" },
                { "Key=a \"b # c\" # comment", "a \"b # c\"" },
                { "Key=\" ", "\"" },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                char text[256];
                int n = snprintf(text, sizeof(text), "[Section]\n%s\n", rows[i].line);
                _cleanup_(config_file_freep) ConfigFile *file = read_text(rows[i].line, text, n, "");

                assert_int_equal(file->n_assignments, 2);
                assert_string_equal(file->assignments[1].section, "Section");
                assert_string_equal(file->assignments[1].key, "Key");
                assert_int_equal(file->assignments[1].line, 2);
                if (strcmp(file->assignments[1].value, rows[i].value) != 0) {
                        print_error("'%s' is '%s' and not '%s'\n",
                                        rows[i].line,
                                        file->assignments[1].value,
                                        rows[i].value);
                        n_wrong++;
                }
        }
        assert_int_equal(n_wrong, 0);
}

#define NEITHER "this is neither a section nor an assignment\n"
#define NO_SECTION "this is not the beginning of a section, and what follows is ignored\n"
#define STRAY "this assignment is in no section\n"
#define UNCLEAN "this line is too long or has control characters\n"
#define TWICE "was given before in this section, on line"

/* All assignments of a file in one string: "[section]" and "key=value", each with its line, and a '|' behind. */
static void print_assignments(const ConfigFile *file, char *buffer, size_t size) {
        size_t n = 0;

        buffer[0] = 0;
        for (size_t i = 0; i < file->n_assignments && n < size; i++) {
                const ConfigAssignment *a = &file->assignments[i];

                if (a->key[0] == 0)
                        n += snprintf(buffer + n, size - n, "%u[%s]%s|", a->line, a->section, a->value);
                else
                        n += snprintf(buffer + n, size - n, "%u[%s]%s=%s|", a->line, a->section, a->key, a->value);
        }
}

/* Whole files: what is read, and what is reported. */
static void test_files(void **state) {
        static const struct {
                const char *text;
                const char *assignments;
                const char *problems;
        } rows[] = {
                { "", "", "" },
                { "\n\n", "", "" },
                { "# comment\n ; comment\n\t#\n#", "", "" },
                { "[A]", "1[A]|", "" },
                { "[A]\nB=c", "1[A]|2[A]B=c|", "" },
                { "\n[A]\n\n# comment\nB=c\n", "2[A]|5[A]B=c|", "" },

                /* Sections. */
                { "  [A]  \n\tB=c\n", "1[A]|2[A]B=c|", "" },
                { "[A] # comment\n[B]; comment\n[C]#", "1[A]|2[B]|3[C]|", "" },
                { "[A  \t b]\n[ A]\n[A ]\n[ ]\n", "1[A b]|2[ A]|3[A ]|4[ ]|", "" },
                { "[ A]\nB=c\n[A ]\nB=d\n[ ]\nB=e\n", "1[ A]|2[ A]B=c|3[A ]|4[A ]B=d|5[ ]|6[ ]B=e|", "" },
                { "[_none_]\nB=c\n", "1[_none_]|2[_none_]B=c|", "" },
                { "[]\nB=c\n[A]\nB=d", "3[A]|4[A]B=d|", "1: " NO_SECTION },
                { "[A\nB=c\n", "", "1: " NO_SECTION },
                { "[A] b\n", "", "1: " NO_SECTION },
                { "[A]]\n[[A]]\n[A[b]]\n", "", "1: " NO_SECTION "2: " NO_SECTION "3: " NO_SECTION },
                { "[A#]\n[A;]\n[A\"]\n[A']\n",
                        "",
                        "1: " NO_SECTION "2: " NO_SECTION "3: " NO_SECTION "4: " NO_SECTION },
                { "[A=b]\n[A\\]\n", "", "1: " NO_SECTION "2: " NO_SECTION },
                { "[A]\nB=c\n[\nB=d\n[A]\nC=e\n", "1[A]|2[A]B=c|5[A]|6[A]C=e|", "3: " NO_SECTION },

                /* What is neither section nor assignment; a line is never continued on the next. */
                { "[A]\nB\n", "1[A]|", "2: " NEITHER },
                { "[A]\nB c\n", "1[A]|", "2: " NEITHER },
                { "[A]\n=c\n", "1[A]|", "2: " NEITHER },
                { "[A]\nB-c=d\nB.c=d\n\xc3\xa4=d\n\"B\"=d\n",
                        "1[A]|",
                        "2: " NEITHER "3: " NEITHER "4: " NEITHER "5: " NEITHER },
                { "[A]\nB c=d\n", "1[A]|", "2: " NEITHER },
                { "[A]\nB # = c\n", "1[A]|", "2: " NEITHER },
                { "[A]\nB=c\n  d\n", "1[A]|2[A]B=c|", "3: " NEITHER },
                { "[A]\nB=c\\\n  d\nE=f", "1[A]|2[A]B=c\\|4[A]E=f|", "3: " NEITHER },
                { "[A]\nB=\"c\n  d\"\nE=f", "1[A]|2[A]B=\"c|4[A]E=f|", "3: " NEITHER },
                { "[A]\nB=\"c\nE=f\"\n", "1[A]|2[A]B=\"c|3[A]E=f\"|", "" },
                { "B=c\nB=d\n[A]\n", "3[A]|", "1: " STRAY "2: " STRAY },
                { "B\n[A]\n", "2[A]|", "1: " NEITHER },

                /* A byte order mark is none of ours, and nor are lines that end as on Windows. */
                { "\xef\xbb\xbf[A]\nB=c\n", "", "1: " NEITHER "2: " STRAY },
                { "[A]\r\nB=c\r\n", "", "1: " UNCLEAN "2: " UNCLEAN },
                { "[A]\nB=c\r\nC=d\n", "1[A]|3[A]C=d|", "2: " UNCLEAN },
                { "[A]\nB=c\001\nC=d\177\n# \033\nE=f\n", "1[A]|5[A]E=f|", "2: " UNCLEAN "3: " UNCLEAN "4: " UNCLEAN },

                /* A key that is given twice has no value at all; the same key of another section is another key. */
                { "[A]\nB=c\nB=c\n", "1[A]|", "3: B= " TWICE " 2; none of its values is taken\n" },
                { "[A]\nB=c\nD=e\n[A]\nB=f\n",
                        "1[A]|3[A]D=e|4[A]|",
                        "5: B= " TWICE " 2; none of its values is taken\n" },
                { "[A b]\nB=c\n[A  b]\nB=c\n", "1[A b]|3[A b]|", "4: B= " TWICE " 2; none of its values is taken\n" },
                { "[A]\nB=1\nB=2\nB=3\nC=4\n",
                        "1[A]|5[A]C=4|",
                        "3: B= " TWICE " 2; none of its values is taken\n4: B= " TWICE
                        " 2; none of its values is taken\n" },
                { "[A]\nB=c\nb=d\n[a]\nB=e\n", "1[A]|2[A]B=c|3[A]b=d|4[a]|5[a]B=e|", "" },
                /* They are reported by the order of their sections and keys, after all lines have been read. */
                { "[B]\nD=1\nC=2\nD=3\nC=4\n[A]\nE=1\nE=2\nx\n",
                        "1[B]|6[A]|",
                        "9: " NEITHER "8: E= " TWICE " 7; none of its values is taken\n"
                        "5: C= " TWICE " 3; none of its values is taken\n4: D= " TWICE
                        " 2; none of its values is taken\n" },
        };
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_(config_file_freep) ConfigFile *file =
                                read_text(rows[i].text, rows[i].text, strlen(rows[i].text), rows[i].problems);
                char assignments[512];

                print_assignments(file, assignments, sizeof(assignments));
                if (strcmp(assignments, rows[i].assignments) != 0)
                        fail_msg("'%s' is '%s' and not '%s'", rows[i].text, assignments, rows[i].assignments);
        }
}

static void test_nul(void **state) {
        static const char text[] = "[A]\nB=c\0d\nE=f\n\0\nG=h\0";
        _cleanup_(config_file_freep) ConfigFile *file =
                        read_text("NUL", text, sizeof(text) - 1, "2: " UNCLEAN "4: " UNCLEAN "5: " UNCLEAN);
        char assignments[512];
        (void) state;

        print_assignments(file, assignments, sizeof(assignments));
        assert_string_equal(assignments, "1[A]|3[A]E=f|");
}

/* The longest line and the largest file, and one byte more. */
static void test_sizes(void **state) {
        static char text[256 * 1024 + 2];
        (void) state;

        memset(text, 'c', sizeof(text));
        memcpy(text, "[A]\nB=", 6);
        memcpy(text + 4 + 4096, "\nD=e", 4);
        _cleanup_(config_file_freep) ConfigFile *longest = read_text("4096", text, 4 + 4096 + 4, "");
        assert_int_equal(longest->n_assignments, 3);
        assert_int_equal(strlen(longest->assignments[1].value), 4094);

        text[4 + 4096] = 'c';
        memcpy(text + 4 + 4097, "\nD=e", 4);
        _cleanup_(config_file_freep) ConfigFile *longer = read_text("4097", text, 4 + 4097 + 4, "2: " UNCLEAN);
        assert_int_equal(longer->n_assignments, 2);
        assert_string_equal(longer->assignments[1].key, "D");

        for (size_t i = 0; i < sizeof(text); i += 4)
                memcpy(text + i, "#b \n", MIN(4U, sizeof(text) - i));
        memcpy(text, "[A]\n", 4);
        memcpy(text + 256 * 1024 - 4, "B=c\n", 4);
        _cleanup_(config_file_freep) ConfigFile *largest = read_text("256K", text, 256 * 1024, "");
        assert_int_equal(largest->n_assignments, 2);
        assert_int_equal(largest->assignments[1].line, 65536);
        _cleanup_(config_file_freep) ConfigFile *larger =
                        read_text("256K+1", text, 256 * 1024 + 1, "0: is larger than 262144 bytes\n");
        assert_int_equal(larger->n_assignments, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values),
                cmocka_unit_test(test_files),
                cmocka_unit_test(test_nul),
                cmocka_unit_test(test_sizes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
