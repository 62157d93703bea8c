/* SPDX-License-Identifier: GPL-2.0-only */

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

char *directory_new(void) {
        char *path = strdup("/tmp/dmaheapd-unit-XXXXXX");

        assert_non_null(path);
        assert_non_null(mkdtemp(path));
        return path;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void) st;
        (void) type;
        (void) ftw;
        return remove(path);
}

void directory_remove(char *path) {
        if (path)
                (void) nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(path);
}

void file_write(const char *directory, const char *name, const void *data, size_t size) {
        char path[4096];

        assert_true(snprintf(path, sizeof(path), "%s/%s", directory, name) < (int) sizeof(path));
        for (char *slash = path + strlen(directory) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
                *slash = 0;
                (void) mkdir(path, 0755);
        }

        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, data, size), size);
        assert_int_equal(close(fd), 0);
}

void file_print(const char *directory, const char *name, const char *format, ...) {
        char *text;
        va_list ap;

        va_start(ap, format);
        assert_true(vasprintf(&text, format, ap) >= 0);
        va_end(ap);

        file_write(directory, name, text, strlen(text));
        free(text);
}
