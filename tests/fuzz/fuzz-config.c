/* SPDX-License-Identifier: GPL-2.0-only */

/* Reads, checks and applies one configuration file of any contents. The parser keeps its promises: lines in order, each
 * key in its section and once, values without control characters, and without a blank at an end or a comment character
 * unless quotes protect it. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "config/config-file.h"
#include "config/config-load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_problem(const char *path, unsigned line, const char *message, void *userdata) {
        size_t *sum = userdata;

        *sum += strlen(path) + strlen(message) + line;
}

#define assert_that(expression)    \
        do {                       \
                if (!(expression)) \
                        abort();   \
        } while (0)

/* The line of a text, counted from 1. *ret_size: without the newline. */
static const char *find_line(const char *text, size_t size, unsigned line, size_t *ret_size) {
        const char *end = text + size, *newline;

        for (; line > 1; line--) {
                text = memchr(text, '\n', end - text);
                assert_that(text);
                text++;
        }

        newline = memchr(text, '\n', end - text);
        *ret_size = (newline ?: end) - text;
        return text;
}

static void check_assignment(const ConfigFile *file, size_t i, const char *text, size_t size) {
        const ConfigAssignment *a = &file->assignments[i];
        size_t n = strlen(a->value), line_size;
        const char *line = find_line(text, size, a->line, &line_size);

        assert_that(i == 0 || file->assignments[i - 1].line < a->line);
        assert_that(a->section[0] != 0 && !strpbrk(a->section, "[]#;\"'\\=\t"));
        assert_that(!strstr(a->section, "  "));
        if (a->key[0] == 0) {
                assert_that(n == 0 && memchr(line, '[', line_size));
                return;
        }

        /* The section is the one whose line came last; key and value stand in the line as they are. */
        size_t begin = i;
        while (begin > 0 && file->assignments[begin].key[0] != 0)
                begin--;
        assert_that(file->assignments[begin].key[0] == 0 && streq(file->assignments[begin].section, a->section));
        assert_that(memmem(line, line_size, a->key, strlen(a->key)));
        assert_that(memmem(line, line_size, a->value, n));

        for (size_t j = 0; j < n; j++)
                assert_that(a->value[j] == '\t' || ((unsigned char) a->value[j] >= ' ' && a->value[j] != 0x7f));
        bool quoted = memchr(line, '"', line_size);
        if (n > 0 && !quoted)
                assert_that(!strchr(" \t", a->value[0]) && !strchr(" \t", a->value[n - 1]) && !strpbrk(a->value, "#;"));
}

static void check_file(const char *path, const char *text, size_t size) {
        _cleanup_(config_file_freep) ConfigFile *file = NULL;
        ConfigReporter reporter = { .path = path };

        assert_that(config_file_read(&reporter, &file) == 0);
        for (size_t i = 0; i < file->n_assignments; i++) {
                check_assignment(file, i, text, size);
                for (size_t j = 0; j < i && file->n_assignments < 100; j++)
                        assert_that(file->assignments[i].key[0] == 0 ||
                                        !streq(file->assignments[i].section, file->assignments[j].section) ||
                                        !streq(file->assignments[i].key, file->assignments[j].key));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static int fd = -1;
        char path[64];
        size_t sum = 0;

        if (fd < 0)
                fd = memfd_create("fuzz", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t) size)
                abort();

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        check_file(path, (const char *) data, size);

        int r = config_check_file(path, on_problem, &sum);
        assert_that(r >= 0 && (r == 0) == (sum == 0));
        return 0;
}
