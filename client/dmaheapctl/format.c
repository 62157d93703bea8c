/* SPDX-License-Identifier: MIT */
/*
 * Sizes and times: reads them from the command line, prints them for people.
 *
 * Invariant: a number that does not fit 64 bits is an error, never a smaller number.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "format.h"
#include "shared/amount.h"

#define USEC_PER_MSEC UINT64_C(1000)
#define USEC_PER_SEC UINT64_C(1000000)

/* Reads the digits at the beginning of s. *ret_rest points behind them. Returns 0, -EINVAL if there is none, or
 * -ERANGE. */
static int parse_digits(const char *s, uint64_t *ret, const char **ret_rest) {
        uint64_t n = 0;

        if (*s < '0' || *s > '9')
                return -EINVAL;
        for (; *s >= '0' && *s <= '9'; s++)
                if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, (uint64_t) (*s - '0'), &n))
                        return -ERANGE;

        *ret = n;
        *ret_rest = s;
        return 0;
}

int parse_unsigned(const char *s, uint64_t max, uint64_t *ret) {
        const char *rest;
        uint64_t n;
        int r;

        r = parse_digits(s, &n, &rest);
        if (r < 0)
                return r;
        if (*rest)
                return -EINVAL;
        if (n > max)
                return -ERANGE;

        *ret = n;
        return 0;
}

int parse_size(const char *s, uint64_t *ret) {
        static const char units[] = "KMGT";
        const char *rest, *unit;
        uint64_t n, factor = 1;
        int r;

        r = parse_digits(s, &n, &rest);
        if (r < 0)
                return r;

        unit = *rest ? strchr(units, *rest) : NULL;
        if (unit) {
                factor = UINT64_C(1) << (10 * (unit - units + 1));
                rest++;
                if (strcmp(rest, "iB") == 0)
                        rest += 2;
        }
        if (*rest)
                return -EINVAL;
        if (__builtin_mul_overflow(n, factor, &n))
                return -ERANGE;

        *ret = n;
        return 0;
}

int parse_usec(const char *s, uint64_t *ret) {
        static const struct {
                const char *name;
                uint64_t usec;
        } units[] = {
                { "", USEC_PER_SEC },
                { "s", USEC_PER_SEC },
                { "ms", USEC_PER_MSEC },
                { "us", 1 },
                { "min", 60 * USEC_PER_SEC },
        };
        const char *rest;
        uint64_t n;
        int r;

        if (strcmp(s, "infinity") == 0) {
                *ret = UINT64_MAX;
                return 0;
        }

        r = parse_digits(s, &n, &rest);
        if (r < 0)
                return r;
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
                if (strcmp(rest, units[i].name) == 0)
                        return __builtin_mul_overflow(n, units[i].usec, ret) ? -ERANGE : 0;
        return -EINVAL;
}

const char *format_size(uint64_t size, bool plain, char buffer[static FORMAT_MAX]) {
        uint64_t tenths;
        char unit;

        if (size == UINT64_MAX)
                return strcpy(buffer, "-");
        if (plain) {
                (void) snprintf(buffer, FORMAT_MAX, "%" PRIu64, size);
                return buffer;
        }

        unit = amount_scale(&size, &tenths);
        if (tenths == 0)
                (void) snprintf(buffer, FORMAT_MAX, "%" PRIu64 "%c", size, unit);
        else
                (void) snprintf(buffer, FORMAT_MAX, "%" PRIu64 ".%" PRIu64 "%c", size, tenths, unit);
        return buffer;
}

const char *format_count(uint64_t n, char buffer[static FORMAT_MAX]) {
        if (n == UINT64_MAX)
                return strcpy(buffer, "-");
        (void) snprintf(buffer, FORMAT_MAX, "%" PRIu64, n);
        return buffer;
}

const char *format_clock(char buffer[static FORMAT_MAX]) {
        time_t now = time(NULL);
        struct tm tm;

        if (!localtime_r(&now, &tm) || strftime(buffer, FORMAT_MAX, "%H:%M:%S", &tm) == 0)
                *buffer = '\0';
        return buffer;
}

const char *format_span(uint64_t usec, char buffer[static FORMAT_MAX]) {
        uint64_t s = usec / USEC_PER_SEC;

        if (s >= 86400)
                (void) snprintf(buffer, FORMAT_MAX, "%" PRIu64 "d %" PRIu64 "h", s / 86400, s % 86400 / 3600);
        else if (s >= 3600)
                (void) snprintf(buffer, FORMAT_MAX, "%" PRIu64 "h %" PRIu64 "min", s / 3600, s % 3600 / 60);
        else if (s >= 60)
                (void) snprintf(buffer, FORMAT_MAX, "%" PRIu64 "min %" PRIu64 "s", s / 60, s % 60);
        else
                (void) snprintf(buffer, FORMAT_MAX, "%" PRIu64 "s", s);
        return buffer;
}
