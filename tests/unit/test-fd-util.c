/* SPDX-License-Identifier: GPL-2.0-only */

/* Tests util/fd-util.c: small files at the bounds of their size, numbers, paths of removed directories, and messages
 * with descriptors, of which none may be lost. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "unit-loop.h"
#include "util/fd-util.h"

static void test_read_file(void **state _unused_) {
        _cleanup_(directory_removep) char *directory = directory_new();
        _cleanup_close_ int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        static const size_t sizes[] = { 0, 1, 4094, 4095, 4096, 8190, 8191, 8192, 100000 };
        char text[100000];

        memset(text, 'x', sizeof(text));
        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_free_ char *got = NULL, *none = NULL;

                print_message("size %zu\n", sizes[i]);
                file_write(directory, "file", text, sizes[i]);
                assert_int_equal(read_file_at(directory_fd, "file", sizes[i], &got), sizes[i]);
                assert_int_equal(strlen(got), sizes[i]);
                if (sizes[i] > 0)
                        assert_int_equal(read_file_at(directory_fd, "file", sizes[i] - 1, &none), -E2BIG);
                assert_int_equal(read_file_at(directory_fd, "missing", 1, &none), -ENOENT);
                assert_null(none);
        }
}

static void test_parse_u64(void **state _unused_) {
        static const struct {
                const char *text;
                int r;
                uint64_t value;
        } rows[] = {
                { "0", 0, 0 },
                { "12\n", 0, 12 },
                { "18446744073709551615\n", 0, UINT64_MAX },
                { "18446744073709551616", -ERANGE, 7 },
                { "", -EINVAL, 7 },
                { "\n", -EINVAL, 7 },
                { " 1", -EINVAL, 7 },
                { "+1", -EINVAL, 7 },
                { "-1", -EINVAL, 7 },
                { "1 ", -EINVAL, 7 },
                { "1\n\n", -EINVAL, 7 },
                { "0x10", -EINVAL, 7 },
                { "max", -EINVAL, 7 },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                uint64_t value = 7;

                print_message("'%s'\n", rows[i].text);
                assert_int_equal(parse_u64(rows[i].text, &value), rows[i].r);
                assert_int_equal(value, rows[i].value);
        }
}

/* A directory whose name ends like the mark of a removed one is there; one that was removed is not. */
static void test_path(void **state _unused_) {
        _cleanup_(directory_removep) char *directory = directory_new();
        _cleanup_free_ char *name = NULL, *path = NULL, *none = NULL;

        assert_true(asprintf(&name, "%s/a (deleted)", directory) >= 0);
        assert_int_equal(mkdir(name, 0755), 0);
        _cleanup_close_ int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(fd_get_path(fd, &path), 0);
        assert_string_equal(path, name);

        assert_int_equal(rmdir(name), 0);
        assert_int_equal(fd_get_path(fd, &none), -ENOENT);
        assert_null(none);
}

typedef struct Pair {
        int ours;
        int theirs;
        unsigned n_open;
} Pair;

static int setup(void **state) {
        static Pair pair;
        int fds[2];

        pair.n_open = n_open_fds();
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
        pair.ours = fds[0];
        pair.theirs = fds[1];
        *state = &pair;
        return 0;
}

static int teardown(void **state) {
        Pair *pair = *state;

        safe_close(pair->ours);
        safe_close(pair->theirs);
        assert_int_equal(n_open_fds(), pair->n_open);
        return 0;
}

static void send_test(const Pair *pair, size_t size, size_t n_fds) {
        char data[64] = "eight by";
        int fds[FDS_PER_MESSAGE_MAX + 1];

        for (size_t i = 0; i < n_fds; i++)
                fds[i] = STDERR_FILENO;
        assert_int_equal(send_message(pair->theirs, data, size, fds, n_fds, 0), 0);
}

static void test_message(void **state) {
        const Pair *pair = *state;
        int fds[2] = { -EBADF, -EBADF };
        size_t n_fds = 0;
        char data[8];

        assert_int_equal(receive_message(pair->ours, data, sizeof(data), fds, 2, &n_fds, MSG_DONTWAIT), -EAGAIN);
        send_test(pair, 8, 2);
        assert_int_equal(receive_message(pair->ours, data, sizeof(data), fds, 2, &n_fds, 0), 1);
        assert_memory_equal(data, "eight by", 8);
        assert_int_equal(n_fds, 2);
        assert_int_equal(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
        assert_int_equal(fcntl(fds[1], F_GETFD), FD_CLOEXEC);
        close_many(fds, 2);
}

/* A message of another size, or with too many descriptors, is refused, and all of its descriptors are closed. */
static void test_bad_messages(void **state) {
        const Pair *pair = *state;
        static const struct {
                size_t size, n_fds;
        } rows[] = { { 7, 0 }, { 9, 0 }, { 20, 1 }, { 7, 2 }, { 0, 1 }, { 8, 3 }, { 8, FDS_PER_MESSAGE_MAX } };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                unsigned n_open = n_open_fds();
                size_t n_fds = 7;
                char data[8];
                int fds[2];

                print_message("%zu bytes, %zu descriptors\n", rows[i].size, rows[i].n_fds);
                send_test(pair, rows[i].size, rows[i].n_fds);
                assert_int_equal(receive_message(pair->ours, data, sizeof(data), fds, 2, &n_fds, 0), -EBADMSG);
                assert_int_equal(n_fds, 7);
                assert_int_equal(n_open_fds(), n_open);
        }
}

static void test_most_descriptors(void **state) {
        const Pair *pair = *state;
        int fds[FDS_PER_MESSAGE_MAX + 1];
        size_t n_fds;
        char data[8];

        send_test(pair, 8, FDS_PER_MESSAGE_MAX);
        assert_int_equal(receive_message(pair->ours, data, sizeof(data), fds, FDS_PER_MESSAGE_MAX, &n_fds, 0), 1);
        assert_int_equal(n_fds, FDS_PER_MESSAGE_MAX);
        close_many(fds, n_fds);

        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = STDERR_FILENO;
        assert_int_equal(send_message(pair->theirs, data, 8, fds, ELEMENTSOF(fds), 0), -E2BIG);
}

/* A process that may not have as many descriptors keeps none of a message. */
static void test_no_room_for_descriptors(void **state) {
        const Pair *pair = *state;
        struct rlimit before, low;
        unsigned n_open = n_open_fds();
        size_t n_fds = 7;
        char data[8];
        int fds[4];

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        low = (struct rlimit) { .rlim_cur = MAX(pair->ours, pair->theirs) + 3, .rlim_max = before.rlim_max };

        send_test(pair, 8, 4);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        int r = receive_message(pair->ours, data, sizeof(data), fds, 4, &n_fds, 0);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);

        assert_int_equal(r, -EMFILE);
        assert_int_equal(n_fds, 7);
        assert_int_equal(n_open_fds(), n_open);
}

static void test_end(void **state) {
        Pair *pair = *state;
        char data[8];

        pair->theirs = safe_close(pair->theirs);
        assert_int_equal(receive_message(pair->ours, data, sizeof(data), NULL, 0, NULL, 0), 0);
        assert_int_equal(send_message(pair->ours, data, sizeof(data), NULL, 0, 0), -EPIPE);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_read_file),
                cmocka_unit_test(test_parse_u64),
                cmocka_unit_test(test_path),
                cmocka_unit_test_setup_teardown(test_message, setup, teardown),
                cmocka_unit_test_setup_teardown(test_bad_messages, setup, teardown),
                cmocka_unit_test_setup_teardown(test_most_descriptors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_room_for_descriptors, setup, teardown),
                cmocka_unit_test_setup_teardown(test_end, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
