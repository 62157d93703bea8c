/* SPDX-License-Identifier: GPL-2.0-only */

/* Tests functions in child processes: their descriptors and signals, their results, and how they end. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "unit.h"
#include "util/child.h"
#include "util/fd-util.h"

#define DEADLINE_MSEC (30 * 1000)

static void assert_ended(const Child *child) {
        struct pollfd entry = { .fd = child_pidfd(child), .events = POLLIN };

        assert_int_equal(poll(&entry, 1, DEADLINE_MSEC), 1);
}

static Child *start(child_function_t run, void *userdata, uint64_t result_size_max) {
        Child *child = NULL;

        assert_int_equal(child_start(
                                         &(ChildParameters) {
                                                 .name = "unit-child",
                                                 .run = run,
                                                 .userdata = userdata,
                                                 .result_size_max = result_size_max,
                                         },
                                         &child),
                        0);
        return child;
}

static int write_text(int result_fd, void *userdata) {
        return pwrite_all(result_fd, userdata, strlen(userdata), 0);
}

static void assert_result(int fd, const char *text) {
        char buffer[64] = "";

        assert_true(strlen(text) < sizeof(buffer));
        assert_int_equal(pread(fd, buffer, sizeof(buffer), 0), strlen(text));
        assert_string_equal(buffer, text);
}

/* The result comes whole, and is not believed from one byte past its bound. */
static void test_result(void **state) {
        _cleanup_close_ int fd = -EBADF, none = -EBADF;
        (void) state;

        assert_int_equal(child_finish(start(write_text, (void *) "twelve bytes", 12), &fd), 0);
        assert_result(fd, "twelve bytes");
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);

        assert_int_equal(child_finish(start(write_text, (void *) "twelve bytes", 11), &none), -EFBIG);
        assert_int_equal(none, -EBADF);
}

static void test_no_result(void **state) {
        _cleanup_close_ int fd = -EBADF;
        (void) state;

        assert_int_equal(child_finish(start(write_text, (void *) "", 0), &fd), 0);
        assert_result(fd, "");
}

static int leave_half(int result_fd, void *userdata) {
        (void) write_text(result_fd, userdata);
        return -ENOENT;
}

static int wait_for_signal(int result_fd _unused_, void *userdata _unused_) {
        (void) pause();
        return 0;
}

static void test_failure(void **state) {
        _cleanup_close_ int fd = -EBADF;
        (void) state;

        assert_int_equal(child_finish(start(leave_half, (void *) "half", 64), &fd), -EIO);
        assert_int_equal(fd, -EBADF);
}

/* A child that is killed ends, and leaves no result. */
static void test_kill(void **state) {
        _cleanup_close_ int fd = -EBADF;
        Child *child;
        (void) state;

        child = start(wait_for_signal, NULL, 0);
        child_kill(child);
        assert_ended(child);
        assert_int_equal(child_finish(child, &fd), -ECANCELED);
        assert_int_equal(fd, -EBADF);
}

/* Every open descriptor by its number, in one line. */
static int list_fds(int result_fd, void *userdata _unused_) {
        char text[64] = "";
        size_t n = 0;

        for (int fd = 0; fd < 200; fd++)
                if (fcntl(fd, F_GETFD) >= 0 && fd != result_fd && n < sizeof(text) - 5)
                        n += sprintf(text + n, "%d ", fd);

        return pwrite_all(result_fd, text, n, 0);
}

/* Of all that the parent has, whatever the numbers and the order, a child has what it was promised and no more. */
static void test_descriptors(void **state) {
        static const struct {
                int keep[CHILD_KEEP_MAX];
                size_t n_keep;
                const char *expected;
        } rows[] = {
                { {}, 0, "0 1 2 " },
                { { 100 }, 1, "0 1 2 100 " },
                { { -EBADF, 120 }, 2, "0 1 2 120 " },
                { { 120, 100, 101, 2 }, 4, "0 1 2 100 101 120 " },
                { { 100, 100 }, 2, "0 1 2 100 " },
        };
        static const int present[] = { 99, 100, 101, 102, 119, 120, 121 };
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(present); i++)
                assert_int_equal(dup2(STDERR_FILENO, present[i]), present[i]);

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                _cleanup_close_ int fd = -EBADF;
                Child *child;

                print_message("row %zu\n", i);
                assert_int_equal(child_start(
                                                 &(ChildParameters) {
                                                         .name = "unit-child",
                                                         .run = list_fds,
                                                         .keep_fds = rows[i].keep,
                                                         .n_keep_fds = rows[i].n_keep,
                                                         .result_size_max = 64,
                                                 },
                                                 &child),
                                0);
                assert_int_equal(child_finish(child, &fd), 0);
                assert_result(fd, rows[i].expected);
        }

        close_many(present, ELEMENTSOF(present));
}

static void test_too_many_descriptors(void **state) {
        Child *child = NULL;
        (void) state;

        assert_int_equal(child_start(
                                         &(ChildParameters) {
                                                 .name = "unit-child",
                                                 .run = list_fds,
                                                 .keep_fds = (int[CHILD_KEEP_MAX + 1]){},
                                                 .n_keep_fds = CHILD_KEEP_MAX + 1,
                                         },
                                         &child),
                        -EINVAL);
        assert_null(child);
}

static int tell_signals(int result_fd, void *userdata _unused_) {
        sigset_t blocked;
        char name[16] = "";

        (void) sigprocmask(SIG_SETMASK, NULL, &blocked);
        (void) prctl(PR_GET_NAME, name);

        char text[64];
        int n = snprintf(text,
                        sizeof(text),
                        "%s %d %d",
                        name,
                        sigismember(&blocked, SIGTERM),
                        sigismember(&blocked, SIGUSR1));
        return pwrite_all(result_fd, text, n, 0);
}

/* A signal that the parent blocks, as the daemon does with SIGTERM, is blocked in the child. */
static void test_signals(void **state) {
        _cleanup_close_ int fd = -EBADF;
        sigset_t term, before;
        (void) state;

        (void) sigemptyset(&term);
        (void) sigaddset(&term, SIGTERM);
        assert_int_equal(sigprocmask(SIG_BLOCK, &term, &before), 0);
        int r = child_finish(start(tell_signals, NULL, 64), &fd);
        assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);

        assert_int_equal(r, 0);
        assert_result(fd, "unit-child 1 0");
}

static int tell_and_wait(int result_fd _unused_, void *userdata) {
        const int *fds = userdata;

        (void) alarm(2 * DEADLINE_MSEC / 1000); /* a test that fails must leave nothing behind */
        (void) close_range(STDIN_FILENO, STDERR_FILENO, 0);
        (void) !write(fds[1], "x", 1);
        (void) pause();
        return 0;
}

/* Ends when its own child is at work: a child that finds its parent dead at the start ends by itself. */
static int start_and_die(int result_fd _unused_, void *userdata) {
        const int *pipe_fd = userdata;
        int ready[2];
        Child *child;
        char byte;

        if (pipe2(ready, O_CLOEXEC) < 0)
                return -errno;

        int fds[] = { *pipe_fd, ready[1] };
        int r = child_start(
                        &(ChildParameters) {
                                .name = "unit-grandchild",
                                .run = tell_and_wait,
                                .userdata = fds,
                                .keep_fds = fds,
                                .n_keep_fds = ELEMENTSOF(fds),
                        },
                        &child);
        return r < 0 || read(ready[0], &byte, 1) != 1 ? -EIO : 0;
}

/* A child whose parent dies is killed: what it holds is closed. */
static void test_death_of_parent(void **state) {
        _cleanup_close_ int result_fd = -EBADF;
        Child *child;
        int fds[2];
        char byte;
        (void) state;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        _cleanup_close_ int read_fd = fds[0];

        assert_int_equal(child_start(
                                         &(ChildParameters) {
                                                 .name = "unit-child",
                                                 .run = start_and_die,
                                                 .userdata = &fds[1],
                                                 .keep_fds = &fds[1],
                                                 .n_keep_fds = 1,
                                         },
                                         &child),
                        0);
        safe_close(fds[1]);
        assert_int_equal(child_finish(child, &result_fd), 0);

        struct pollfd entry = { .fd = read_fd, .events = POLLIN };
        assert_int_equal(poll(&entry, 1, DEADLINE_MSEC), 1);
        assert_int_equal(read(read_fd, &byte, 1), 0);
}

/* A child that is of no use any more ends, and its end is not waited for. */
static void test_forget(void **state) {
        siginfo_t info;
        (void) state;

        Child *child = start(wait_for_signal, NULL, 0);
        _cleanup_close_ int pidfd = fcntl(child_pidfd(child), F_DUPFD_CLOEXEC, 3);
        assert_true(pidfd >= 0);
        assert_null(child_free(child));
        assert_null(child_free(NULL));

        struct pollfd entry = { .fd = pidfd, .events = POLLIN };
        assert_int_equal(poll(&entry, 1, DEADLINE_MSEC), 1);
        assert_true(waitid(P_PIDFD, pidfd, &info, WEXITED) < 0 || info.si_code == CLD_KILLED);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_result),
                cmocka_unit_test(test_no_result),
                cmocka_unit_test(test_failure),
                cmocka_unit_test(test_kill),
                cmocka_unit_test(test_descriptors),
                cmocka_unit_test(test_too_many_descriptors),
                cmocka_unit_test(test_signals),
                cmocka_unit_test(test_death_of_parent),
                cmocka_unit_test(test_forget),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
