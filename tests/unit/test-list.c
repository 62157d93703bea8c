/* SPDX-License-Identifier: GPL-2.0-only */

/* Tests the lists of util/list.h: their items and the order of them after each change. */

#include "unit.h"
#include "util/list.h"

typedef struct Thing Thing;
struct Thing {
        Thing *next;
        char name;
};

static void assert_list(const Thing *list, const char *names) {
        for (; *names; names++, list = list->next) {
                assert_non_null(list);
                assert_int_equal(list->name, *names);
        }
        assert_null(list);
}

static void test_add(void **state) {
        Thing a = { .name = 'a' }, b = { .name = 'b' }, c = { .name = 'c' }, d = { .name = 'd' };
        Thing *list = NULL;
        (void) state;

        LIST_APPEND(list, &a);
        assert_list(list, "a");
        LIST_PREPEND(list, &b);
        assert_list(list, "ba");
        LIST_APPEND(list, &c);
        assert_list(list, "bac");

        /* Whatever its `next` was, an item that is appended is the last. */
        d.next = &b;
        LIST_APPEND(list, &d);
        assert_list(list, "bacd");
}

static void test_remove(void **state) {
        Thing a = { .name = 'a' }, b = { .name = 'b' }, c = { .name = 'c' }, stranger = { .name = 's', .next = &b };
        Thing *list = NULL;
        (void) state;

        LIST_APPEND(list, &a);
        LIST_APPEND(list, &b);
        LIST_APPEND(list, &c);

        assert_false(LIST_REMOVE(list, &stranger));
        assert_list(list, "abc");
        assert_ptr_equal(stranger.next, &b);

        assert_true(LIST_REMOVE(list, &b));
        assert_list(list, "ac");
        assert_null(b.next);
        assert_false(LIST_REMOVE(list, &b));
        assert_true(LIST_REMOVE(list, &a));
        assert_list(list, "c");
        assert_true(LIST_REMOVE(list, &c));
        assert_null(list);
        assert_false(LIST_REMOVE(list, &c));
}

static void test_take_first(void **state) {
        Thing a = { .name = 'a' }, b = { .name = 'b' };
        Thing *list = NULL;
        (void) state;

        LIST_APPEND(list, &a);
        LIST_APPEND(list, &b);
        assert_ptr_equal(LIST_TAKE_FIRST(list), &a);
        assert_null(a.next);
        assert_list(list, "b");
        assert_ptr_equal(LIST_TAKE_FIRST(list), &b);
        assert_null(list);
        assert_null(LIST_TAKE_FIRST(list));
}

/* A walk may remove the item that it is at, if it has read the next one before. */
static void test_remove_while_walking(void **state) {
        Thing things[5];
        Thing *list = NULL;
        (void) state;

        for (unsigned i = 0; i < ELEMENTSOF(things); i++) {
                things[i] = (Thing) { .name = (char) ('a' + i) };
                LIST_APPEND(list, &things[i]);
        }

        for (Thing *thing = list, *next; thing; thing = next) {
                next = thing->next;
                if (thing->name != 'b' && thing->name != 'd')
                        assert_true(LIST_REMOVE(list, thing));
        }
        assert_list(list, "bd");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_add),
                cmocka_unit_test(test_remove),
                cmocka_unit_test(test_take_first),
                cmocka_unit_test(test_remove_while_walking),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
