/* SPDX-License-Identifier: GPL-2.0-only */

/* Tests how the text of bufinfo is read, with names that try to forge it,
 * and how a census comes from a child to its parent. */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "census/census-bufinfo.h"
#include "unit.h"
#include "util/fd-util.h"
#include "util/macro.h"

#define HEAD "\nDma-buf Objects:\nsize    \tflags   \tmode    \tcount   \texp_name\tino     \tname\n"
#define ATTACHED "\tAttached Devices:\nTotal 0 devices attached\n\n"

static int parse(const char *text, CensusResult **ret) {
        return census_parse_bufinfo(text, strlen(text), ret);
}

static void test_bufinfo(void **state) {
        _cleanup_(census_result_freep) CensusResult *result = NULL;
        (void) state;

        assert_int_equal(parse(HEAD "00008192\t00000002\t00080007\t00000001\tsystem\t00000044\t<none>\n" ATTACHED
                                    "104857600\t00000002\t00080007\t00000002\tdefault_cma_region\t00000009\tcamera "
                                    "frame\n"
                                    "\tAttached Devices:\n\tvgem\nTotal 1 devices attached\n\n"
                                    "00004096\t00000002\t00080007\t00000001\tsystem\t123456789012\ttab\there\n" ATTACHED
                                    "\nTotal 3 objects, 104869888 bytes\n",
                                         &result),
                        0);
        assert_int_equal(result->n_entries, 3);
        assert_int_equal(result->entries[0].inode, 9);
        assert_int_equal(result->entries[0].size, 104857600);
        assert_string_equal(result->entries[0].exporter, "default_cma_region");
        assert_int_equal(result->inodes[1], 44);
        assert_string_equal(result->entries[1].exporter, "system");
        assert_int_equal(result->inodes[2], 123456789012);
}

static void test_bufinfo_empty(void **state) {
        _cleanup_(census_result_freep) CensusResult *result = NULL;
        (void) state;

        assert_int_equal(parse(HEAD "\nTotal 0 objects, 0 bytes\n", &result), 0);
        assert_int_equal(result->n_entries, 0);
}

/* Names of at most 31 bytes that look like lines of their own. */
static void test_bufinfo_forged(void **state) {
        static const char *const names[] = {
                "\n00004096\t00000002\t00080007\t1\t",
                "\n1\t2\t7\t1\tsystem\t00000077\tx",
                "\nTotal 0 objects, 0 bytes",
                "x\nTotal 0 objects, 0 bytes\n",
                "\n\n\n\n",
                "00004096\t00000002\t00080007\t0",
        };
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_(census_result_freep) CensusResult *result = NULL;
                char text[1024];

                assert_true(strlen(names[i]) <= 31);
                (void) snprintf(text,
                                sizeof(text),
                                HEAD "00004096\t00000002\t00080007\t00000001\tsystem\t00000044\t%s\n" ATTACHED
                                     "\nTotal 1 objects, 4096 bytes\n",
                                names[i]);
                assert_int_equal(parse(text, &result), 0);
                assert_int_equal(result->n_entries, 1);
                assert_int_equal(result->inodes[0], 44);
        }
}

static void test_bufinfo_incomplete(void **state) {
        static const char line[] = "00004096\t00000002\t00080007\t00000001\tsystem\t00000044\t<none>\n";
        static const char *const texts[] = {
                "",
                "\n",
                "%s",
                "%s\nTotal 2 objects, 4096 bytes\n",
                "%s\nTotal 1 objects, 4097 bytes\n",
                "%s\nTotal 1 objects, 4096 bytes",
                "%s\nTotal 1 objects, 4096 bytes\nmore\n",
                "%s\nTotal 1 objects, 4096 byte\n",
                "%s\nTotal  objects, 4096 bytes\n",
                "%s\nTotal 18446744073709551617 objects, 4096 bytes\n",
        };
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(census_result_freep) CensusResult *result = NULL;
                char text[1024];
                const char *place = strstr(texts[i], "%s");

                (void) snprintf(text, sizeof(text), "%s%s%s", HEAD, place ? line : "", place ? place + 2 : texts[i]);
                assert_int_equal(parse(text, &result), -EBADMSG);
        }
}

static void test_transport(void **state) {
        _cleanup_(census_builder_done) CensusBuilder child = {}, parent = {}, cut = {};
        _cleanup_close_ int fd = memfd_create("test", MFD_CLOEXEC);
        _cleanup_(census_result_freep) CensusResult *result = NULL;
        char name[100];
        (void) state;

        memset(name, 'x', sizeof(name));
        for (unsigned i = 0; i < 1000; i++)
                assert_int_equal(
                                census_builder_add(
                                                &child, 2000 - i, i, i % 2 ? "system" : name, i % 2 ? 6 : sizeof(name)),
                                0);
        assert_int_equal(census_builder_add(&child, 1500, 1, "system", 6), 0); /* a second time */
        census_builder_sort(&child);
        assert_int_equal(child.n_items, 1000);
        assert_int_equal(census_builder_write(&child, 0, fd), 0);

        assert_int_equal(census_builder_read(&parent, fd), 0);
        assert_int_equal(census_builder_finish(&parent, &result), 0);
        assert_int_equal(result->n_entries, 1000);
        for (unsigned i = 0; i < 1000; i++) {
                assert_int_equal(result->inodes[i], 1001 + i);
                assert_int_equal(result->entries[i].inode, 1001 + i);
        }
        assert_int_equal(result->entries[0].size, 999);
        assert_string_equal(result->entries[0].exporter, "system");
        assert_int_equal(strlen(result->entries[1].exporter), CENSUS_EXPORTER_SIZE - 1);

        /* A child that died while it wrote. */
        assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_END) - 1), 0);
        assert_int_equal(census_builder_read(&cut, fd), -EIO);
        assert_int_equal(ftruncate(fd, 4), 0);
        assert_int_equal(census_builder_read(&cut, fd), -ENODATA);
}

static void test_transport_of_error(void **state) {
        _cleanup_(census_builder_done) CensusBuilder child = {}, parent = {};
        _cleanup_close_ int fd = memfd_create("test", MFD_CLOEXEC);
        (void) state;

        assert_int_equal(census_builder_add(&child, 1, 1, "system", 6), 0);
        assert_int_equal(census_builder_write(&child, -EACCES, fd), 0);
        assert_int_equal(census_builder_read(&parent, fd), -EACCES);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bufinfo),
                cmocka_unit_test(test_bufinfo_empty),
                cmocka_unit_test(test_bufinfo_forged),
                cmocka_unit_test(test_bufinfo_incomplete),
                cmocka_unit_test(test_transport),
                cmocka_unit_test(test_transport_of_error),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
