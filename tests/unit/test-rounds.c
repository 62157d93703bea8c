/* SPDX-License-Identifier: GPL-2.0-only */

/* Tests when a round begins, and which waiters it serves. The clock is the machine's, so a round may be late in a test;
 * it must not be early. */

#include "unit-loop.h"
#include "util/rounds.h"

typedef struct Fixture {
        sd_event *event;
        Rounds *rounds;
        unsigned n_begun;
        int start_error;
        uint64_t begun_at;
        char served[16]; /* the names of those that were served, in that order */
} Fixture;

typedef struct Waiter {
        Fixture *fixture;
        char name;
        RoundWait *wait;
        struct Waiter *cancels; /* when it is served */
        struct Waiter *adds;
} Waiter;

static int on_start(void *userdata) {
        Fixture *fixture = userdata;

        fixture->n_begun++;
        fixture->begun_at = now_usec();
        return fixture->start_error;
}

static int setup(void **state) {
        Fixture *fixture = calloc(1, sizeof(Fixture));

        assert_non_null(fixture);
        assert_int_equal(sd_event_new(&fixture->event), 0);
        assert_int_equal(rounds_new(fixture->event, on_start, fixture, &fixture->rounds), 0);
        *state = fixture;
        return 0;
}

static int teardown(void **state) {
        Fixture *fixture = *state;

        rounds_free(fixture->rounds);
        sd_event_unref(fixture->event);
        free(fixture);
        return 0;
}

static void wait_round(Waiter *waiter);

static void on_done(void *userdata) {
        Waiter *waiter = userdata;

        waiter->wait = NULL;
        waiter->fixture->served[strlen(waiter->fixture->served)] = waiter->name;
        if (waiter->cancels)
                waiter->cancels->wait = round_wait_cancel(waiter->cancels->wait);
        if (waiter->adds)
                wait_round(waiter->adds);
}

static void wait_round(Waiter *waiter) {
        assert_int_equal(rounds_wait(waiter->fixture->rounds, on_done, waiter, &waiter->wait), 0);
        assert_non_null(waiter->wait);
}

static void test_one_round(void **state) {
        Fixture *fixture = *state;
        Waiter a = { .fixture = fixture, .name = 'a' };

        assert_false(rounds_busy(fixture->rounds));
        assert_int_equal(rounds_ended_at(fixture->rounds), 0);

        /* Nothing happens within the call. */
        uint64_t before = now_usec();
        wait_round(&a);
        assert_int_equal(fixture->n_begun, 0);
        assert_true(rounds_busy(fixture->rounds));

        loop_until(fixture->event, fixture->n_begun == 1);
        loop_settle(fixture->event);
        assert_string_equal(fixture->served, "");
        assert_true(rounds_started_at(fixture->rounds) >= before);

        rounds_finished(fixture->rounds);
        assert_string_equal(fixture->served, "a");
        assert_false(rounds_busy(fixture->rounds));
        assert_true(rounds_ended_at(fixture->rounds) >= rounds_started_at(fixture->rounds));

        /* No round without need. */
        loop_settle(fixture->event);
        assert_int_equal(fixture->n_begun, 1);
}

/* A waiter that comes while a round is running is served by the next one: what the running round has read already may
 * have changed since. */
static void test_not_served_by_a_running_round(void **state) {
        Fixture *fixture = *state;
        Waiter early = { .fixture = fixture, .name = 'e' }, late = { .fixture = fixture, .name = 'l' };

        wait_round(&early);
        loop_until(fixture->event, fixture->n_begun == 1);
        wait_round(&late);
        loop_settle(fixture->event);
        assert_int_equal(fixture->n_begun, 1); /* one at a time */

        rounds_finished(fixture->rounds);
        assert_string_equal(fixture->served, "e");

        loop_until(fixture->event, fixture->n_begun == 2);
        assert_string_equal(fixture->served, "e");
        rounds_finished(fixture->rounds);
        assert_string_equal(fixture->served, "el");
}

/* One round serves all that came before it began, in the order in which they came. */
static void test_order(void **state) {
        Fixture *fixture = *state;
        Waiter waiters[5];

        for (unsigned i = 0; i < ELEMENTSOF(waiters); i++) {
                waiters[i] = (Waiter) { .fixture = fixture, .name = (char) ('a' + i) };
                wait_round(&waiters[i]);
        }
        loop_until(fixture->event, fixture->n_begun == 1);
        rounds_finished(fixture->rounds);
        assert_string_equal(fixture->served, "abcde");
        loop_settle(fixture->event);
        assert_int_equal(fixture->n_begun, 1);
}

/* A callback cancels the next waiter, and adds one: which this round does not serve. */
static void test_changes_in_callbacks(void **state) {
        Fixture *fixture = *state;
        Waiter d = { .fixture = fixture, .name = 'd' }, c = { .fixture = fixture, .name = 'c' },
               b = { .fixture = fixture, .name = 'b' };
        Waiter a = { .fixture = fixture, .name = 'a', .cancels = &b, .adds = &d };

        wait_round(&a);
        wait_round(&b);
        wait_round(&c);
        loop_until(fixture->event, fixture->n_begun == 1);
        rounds_finished(fixture->rounds);
        assert_string_equal(fixture->served, "ac");

        loop_until(fixture->event, fixture->n_begun == 2);
        rounds_finished(fixture->rounds);
        assert_string_equal(fixture->served, "acd");
        assert_null(round_wait_cancel(NULL));
}

/* The next round may begin so long after the beginning of the last one, and then does. */
static void test_interval(void **state) {
        Fixture *fixture = *state;
        Waiter a = { .fixture = fixture, .name = 'a' }, b = { .fixture = fixture, .name = 'b' };
        const uint64_t interval = 200 * USEC_PER_MSEC;

        rounds_set_interval(fixture->rounds, interval);
        wait_round(&a);
        loop_settle(fixture->event); /* nothing was before the first: it begins at once */
        assert_int_equal(fixture->n_begun, 1);
        uint64_t first = rounds_started_at(fixture->rounds);
        rounds_finished(fixture->rounds);

        wait_round(&b);
        loop_until(fixture->event, fixture->n_begun == 2);
        assert_true(fixture->begun_at >= first + interval);
        rounds_finished(fixture->rounds);
        assert_string_equal(fixture->served, "ab");
}

/* A round that cannot begin is over at once: nobody waits for ever. */
static void test_start_fails(void **state) {
        Fixture *fixture = *state;
        Waiter a = { .fixture = fixture, .name = 'a' };

        fixture->start_error = -EOPNOTSUPP;
        wait_round(&a);
        assert_string_equal(fixture->served, "");
        loop_until(fixture->event, fixture->n_begun == 1);
        assert_string_equal(fixture->served, "a");
        assert_false(rounds_busy(fixture->rounds));
}

static void test_free_calls_nobody(void **state) {
        Fixture *fixture = *state;
        Waiter a = { .fixture = fixture, .name = 'a' }, b = { .fixture = fixture, .name = 'b' };

        wait_round(&a);
        loop_until(fixture->event, fixture->n_begun == 1);
        wait_round(&b);
        fixture->rounds = rounds_free(fixture->rounds);
        loop_settle(fixture->event);
        assert_string_equal(fixture->served, "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_one_round, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_served_by_a_running_round, setup, teardown),
                cmocka_unit_test_setup_teardown(test_order, setup, teardown),
                cmocka_unit_test_setup_teardown(test_changes_in_callbacks, setup, teardown),
                cmocka_unit_test_setup_teardown(test_interval, setup, teardown),
                cmocka_unit_test_setup_teardown(test_start_fails, setup, teardown),
                cmocka_unit_test_setup_teardown(test_free_calls_nobody, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
