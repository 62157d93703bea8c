/* SPDX-License-Identifier: GPL-2.0-only */

/* Takes the census from the text in debugfs that drivers/dma-buf/dma-buf.c prints. It contains the names that buffers
 * were given, with newlines and tabs. The invariant: no name can add a buffer to the result, or hide one. */

#include <fcntl.h>
#include <stdio.h>

#include "census/census-bufinfo.h"
#include "census/census-source.h"
#include "util/fd-util.h"

#define BUFINFO_PATH "/sys/kernel/debug/dma_buf/bufinfo"

/* 20,000 buffers, each with some attached devices, are a few MiB. */
#define BUFINFO_SIZE_MAX (256U * 1024U * 1024U)

/* Takes a column of at least eight digits and the tab after it. Returns false, and takes nothing, if there is none. */
static bool take_column(const char **p, const char *end, unsigned base, uint64_t *ret) {
        uint64_t value = 0;
        const char *s = *p;

        for (; s < end && *s != '\t'; s++) {
                unsigned digit = *s >= '0' && *s <= '9' ? *s - '0' : *s >= 'a' && *s <= 'f' ? *s - 'a' + 10 : 16;

                if (digit >= base || __builtin_mul_overflow(value, base, &value) ||
                                __builtin_add_overflow(value, digit, &value))
                        return false;
        }
        if (s == end || s - *p < 8)
                return false;

        *p = s + 1;
        *ret = value;
        return true;
}

/* Parses size, flags, mode, count, exporter, inode and name; drivers/dma-buf/dma-buf.c prints all numbers with %08.
 * These columns and their tabs have at least 45 bytes. A name has 31 at most, so what follows a newline in it cannot be
 * such a line. */
static bool parse_line(const char *p, const char *end, CensusItem *ret, const char **ret_exporter, size_t *ret_length) {
        uint64_t size, flags, mode, count, inode;

        if (!take_column(&p, end, 10, &size) || !take_column(&p, end, 16, &flags) || !take_column(&p, end, 16, &mode) ||
                        !take_column(&p, end, 10, &count))
                return false;

        const char *exporter = p;
        p = memchr(p, '\t', end - p);
        if (!p)
                return false;

        size_t length = p++ - exporter;
        if (!take_column(&p, end, 10, &inode) || inode == 0)
                return false;

        *ret = (CensusItem) { .inode = inode, .size = size };
        *ret_exporter = exporter;
        *ret_length = length;
        return true;
}

static bool take_literal(const char **p, const char *end, const char *literal) {
        size_t n = strlen(literal);

        if ((size_t) (end - *p) < n || memcmp(*p, literal, n) != 0)
                return false;
        *p += n;
        return true;
}

static bool take_number(const char **p, const char *end, uint64_t *ret) {
        const char *s = *p;
        uint64_t value = 0;

        for (; s < end && *s >= '0' && *s <= '9'; s++)
                if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *s - '0', &value))
                        return false;
        if (s == *p)
                return false;

        *p = s;
        *ret = value;
        return true;
}

/* Parses "Total N objects, M bytes". A name can contain this line, but is never in the last one. */
static bool parse_total(const char *p, const char *end, uint64_t *ret_n, uint64_t *ret_size) {
        return take_literal(&p, end, "Total ") && take_number(&p, end, ret_n) && take_literal(&p, end, " objects, ") &&
                        take_number(&p, end, ret_size) && take_literal(&p, end, " bytes") && p == end;
}

int census_builder_add_bufinfo(CensusBuilder *builder, const char *text, size_t size) {
        const char *end = text + size, *last = NULL, *last_end = NULL;
        uint64_t n = 0, sum = 0, total_n, total_size;

        for (const char *line = text, *line_end; line < end; line = line_end + 1) {
                const char *exporter;
                CensusItem item;
                size_t length;

                line_end = memchr(line, '\n', end - line);
                if (!line_end)
                        return -EBADMSG;

                last = line;
                last_end = line_end;
                if (!parse_line(line, line_end, &item, &exporter, &length))
                        continue;

                int r = census_builder_add(builder, item.inode, item.size, exporter, length);
                if (r < 0)
                        return r;
                n++;
                sum += item.size;
        }

        if (!last || !parse_total(last, last_end, &total_n, &total_size) || total_n != n || total_size != sum)
                return -EBADMSG;
        return 0;
}

int census_parse_bufinfo(const char *text, size_t size, CensusResult **ret) {
        _cleanup_(census_builder_done) CensusBuilder builder = {};

        int r = census_builder_add_bufinfo(&builder, text, size);
        if (r < 0)
                return r;

        census_builder_sort(&builder);
        return census_builder_finish(&builder, ret);
}

/* Only opens the file: the kernel makes the text at the first read. */
static int bufinfo_open(int *ret_fd _unused_, char **ret_reason) {
        _cleanup_close_ int fd = open(BUFINFO_PATH, O_RDONLY | O_CLOEXEC | O_NOCTTY);

        if (fd >= 0)
                return 1;
        return asprintf(ret_reason, BUFINFO_PATH ": %s", strerror(errno)) < 0 ? -ENOMEM : 0;
}

static int bufinfo_read(int fd _unused_, CensusBuilder *builder) {
        _cleanup_free_ char *text = NULL;

        ssize_t n = read_file_at(AT_FDCWD, BUFINFO_PATH, BUFINFO_SIZE_MAX, &text);
        if (n < 0)
                return n;

        return census_builder_add_bufinfo(builder, text, n);
}

const CensusSource census_bufinfo = { .open = bufinfo_open, .read = bufinfo_read };
