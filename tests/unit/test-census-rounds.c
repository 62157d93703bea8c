/* SPDX-License-Identifier: GPL-2.0-only */

/* Tests when censuses are taken, and what happens when one fails. The functions below stand in for the census: each is
 * a real child process that ends when the test says so, and its result is written down before. */

#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>

#include "accounting/census-rounds.h"
#include "unit-loop.h"
#include "util/fd-util.h"

/* What becomes of one census after the other; the last stands for all further ones. */
typedef enum Fate {
        FATE_COMPLETE,
        FATE_INCOMPLETE, /* the child ends, but the result is not whole */
        FATE_CANNOT_START,
} Fate;

typedef struct Fixture {
        sd_event *event;
        CensusRounds *rounds;
        CensusMethod method;
        Fate fates[4];
        bool held; /* children wait for the release */
        int release_fds[2];
        unsigned n_started, n_finished, n_ended, n_done;
        uint64_t started_at;   /* the last one, by now_usec() */
        uint64_t now_sequence; /* as if of the ledger */
        uint64_t ended_sequence;
        int run_pidfd; /* of the last one */
} Fixture;

static Fixture fixture;

/* Stands in for census.c. */

CensusMethod census_method(const Census *census _unused_) {
        return fixture.method;
}

static int run_in_child(int result_fd _unused_, void *userdata _unused_) {
        char byte;

        return fixture.held ? (int) read(fixture.release_fds[0], &byte, 1) : 0;
}

int census_start(Census *census _unused_, Child **ret) {
        unsigned number = MIN(fixture.n_started, (unsigned) ELEMENTSOF(fixture.fates) - 1);

        fixture.n_started++;
        fixture.started_at = now_usec();
        if (fixture.fates[number] == FATE_CANNOT_START)
                return -EAGAIN;

        int r = child_start(
                        &(ChildParameters) {
                                .name = "unit-census",
                                .run = run_in_child,
                                .keep_fds = &fixture.release_fds[0],
                                .n_keep_fds = 1,
                        },
                        ret);
        assert_int_equal(r, 0);
        safe_close(fixture.run_pidfd);
        fixture.run_pidfd = fcntl(child_pidfd(*ret), F_DUPFD_CLOEXEC, 3);
        return 0;
}

int census_finish(Child *run, CensusResult **ret) {
        unsigned number = MIN(fixture.n_finished, (unsigned) ELEMENTSOF(fixture.fates) - 1);
        _cleanup_close_ int result_fd = -EBADF;

        fixture.n_finished++;
        int r = child_finish(run, &result_fd);
        if (r < 0)
                return r;
        if (fixture.fates[number] != FATE_COMPLETE)
                return -EBADMSG;

        *ret = calloc(1, sizeof(CensusResult));
        assert_non_null(*ret);
        (*ret)->n_entries = 1234;
        return 0;
}

static uint64_t on_begin(void *userdata) {
        assert_ptr_equal(userdata, &fixture);
        return fixture.now_sequence;
}

static void on_end(const CensusResult *result, uint64_t sequence, void *userdata) {
        assert_ptr_equal(userdata, &fixture);
        assert_int_equal(result->n_entries, 1234);
        fixture.n_ended++;
        fixture.ended_sequence = sequence;
}

static void on_done(void *userdata) {
        assert_ptr_equal(userdata, &fixture);
        fixture.n_done++;
}

static int setup(void **state) {
        *state = &fixture;
        fixture = (Fixture) { .method = CENSUS_METHOD_BPF, .run_pidfd = -EBADF };
        assert_int_equal(pipe2(fixture.release_fds, O_CLOEXEC), 0);
        assert_int_equal(sd_event_new(&fixture.event), 0);
        assert_int_equal(census_rounds_new(fixture.event, NULL, on_begin, on_end, &fixture, &fixture.rounds), 0);
        return 0;
}

static int teardown(void **state _unused_) {
        census_rounds_free(fixture.rounds);
        sd_event_unref(fixture.event);
        close_many(fixture.release_fds, 2);
        safe_close(fixture.run_pidfd);
        return 0;
}

static void wait_census(void) {
        RoundWait *wait;

        assert_int_equal(census_rounds_wait(fixture.rounds, on_done, &fixture, &wait), 0);
}

static void release(void) {
        assert_int_equal(write(fixture.release_fds[1], "x", 1), 1);
}

/* Lets a census end when that much time has gone by. */
static int on_release(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata _unused_) {
        release();
        return 0;
}

static void release_after(uint64_t usec) {
        assert_true(sd_event_add_time_relative(fixture.event, NULL, CLOCK_MONOTONIC, usec, 1, on_release, NULL) >= 0);
}

/* What is told with a result is the sequence of when the census began: a record that was made since is not in it. */
static void test_sequence_of_the_beginning(void **state _unused_) {
        fixture.held = true;
        fixture.now_sequence = 7;
        wait_census();
        loop_until(fixture.event, fixture.n_started == 1);

        fixture.now_sequence = 8;
        assert_true(census_rounds_busy(fixture.rounds));
        release();
        loop_until(fixture.event, fixture.n_done == 1);
        assert_int_equal(fixture.n_ended, 1);
        assert_int_equal(fixture.ended_sequence, 7);
        assert_false(census_rounds_busy(fixture.rounds));
}

/* The same for one that is taken again: its own beginning counts. */
static void test_failed_is_taken_again(void **state _unused_) {
        fixture.held = true;
        fixture.fates[0] = FATE_INCOMPLETE;
        fixture.now_sequence = 7;
        wait_census();
        loop_until(fixture.event, fixture.n_started == 1);

        fixture.now_sequence = 8;
        release();
        loop_until(fixture.event, fixture.n_started == 2);
        assert_int_equal(fixture.n_ended, 0);
        assert_int_equal(fixture.n_done, 0);

        fixture.now_sequence = 9;
        release();
        loop_until(fixture.event, fixture.n_done == 1);
        assert_int_equal(fixture.n_started, 2);
        assert_int_equal(fixture.n_ended, 1);
        assert_int_equal(fixture.ended_sequence, 8);
}

/* An incomplete census ends no record; who waited is called, and the next round begins with two tries again. */
static void test_failed_twice(void **state _unused_) {
        fixture.fates[0] = fixture.fates[1] = fixture.fates[2] = FATE_INCOMPLETE;
        wait_census();
        loop_until(fixture.event, fixture.n_done == 1);
        assert_int_equal(fixture.n_started, 2);
        assert_int_equal(fixture.n_ended, 0);

        wait_census();
        loop_until(fixture.event, fixture.n_done == 2);
        assert_int_equal(fixture.n_started, 4);
        assert_int_equal(fixture.n_ended, 1);
}

/* A child that is killed from outside counts as a census that failed. */
static void test_killed_is_taken_again(void **state _unused_) {
        fixture.held = true;
        wait_census();
        loop_until(fixture.event, fixture.n_started == 1);
        assert_int_equal(pidfd_send_signal(fixture.run_pidfd, SIGKILL, NULL, 0), 0);
        loop_until(fixture.event, fixture.n_started == 2);
        release();
        loop_until(fixture.event, fixture.n_done == 1);
        assert_int_equal(fixture.n_ended, 1);
}

static void test_cannot_start(void **state _unused_) {
        fixture.fates[0] = FATE_CANNOT_START;
        wait_census();
        loop_until(fixture.event, fixture.n_done == 1);
        assert_int_equal(fixture.n_started, 1);
        assert_int_equal(fixture.n_ended, 0);
}

static void test_no_method(void **state _unused_) {
        fixture.method = CENSUS_METHOD_NONE;
        wait_census();
        loop_until(fixture.event, fixture.n_done == 1);
        assert_int_equal(fixture.n_started, 0);
        assert_int_equal(fixture.n_ended, 0);
}

/* Censuses take at most a twentieth of the time: after one of 15 ms the
 * next begins 300 ms after the beginning, or later. */
static void test_pace(void **state _unused_) {
        const uint64_t duration = 15 * USEC_PER_MSEC;

        fixture.held = true;
        wait_census();
        loop_until(fixture.event, fixture.n_started == 1);
        uint64_t first = fixture.started_at;
        release_after(duration);
        loop_until(fixture.event, fixture.n_done == 1);

        wait_census();
        loop_until(fixture.event, fixture.n_started == 2);
        assert_true(fixture.started_at >= first + 20 * duration);
        release();
        loop_until(fixture.event, fixture.n_done == 2);
}

/* But nobody waits for long: after one of 400 ms the next begins a second after the beginning of the round, which is a
 * little earlier than that of the census, and not ten seconds after. */
static void test_pace_has_a_bound(void **state _unused_) {
        fixture.held = true;
        wait_census();
        loop_until(fixture.event, fixture.n_started == 1);
        uint64_t first = fixture.started_at;
        release_after(400 * USEC_PER_MSEC);
        loop_until(fixture.event, fixture.n_done == 1);

        wait_census();
        loop_until(fixture.event, fixture.n_started == 2);
        assert_true(fixture.started_at >= first + 900 * USEC_PER_MSEC);
        assert_true(fixture.started_at < first + 6 * USEC_PER_SEC);
        release();
        loop_until(fixture.event, fixture.n_done == 2);
}

/* The child ends with the rounds, and is not waited for. */
static void test_free_kills(void **state _unused_) {
        fixture.held = true;
        wait_census();
        loop_until(fixture.event, fixture.n_started == 1);
        fixture.rounds = census_rounds_free(fixture.rounds);

        struct pollfd entry = { .fd = fixture.run_pidfd, .events = POLLIN };
        assert_int_equal(poll(&entry, 1, LOOP_DEADLINE_USEC / USEC_PER_MSEC), 1);
        assert_int_equal(fixture.n_done, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_sequence_of_the_beginning, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failed_is_taken_again, setup, teardown),
                cmocka_unit_test_setup_teardown(test_failed_twice, setup, teardown),
                cmocka_unit_test_setup_teardown(test_killed_is_taken_again, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cannot_start, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_method, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pace, setup, teardown),
                cmocka_unit_test_setup_teardown(test_pace_has_a_bound, setup, teardown),
                cmocka_unit_test_setup_teardown(test_free_kills, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
