/* SPDX-License-Identifier: GPL-2.0-only */

/* The values of the configuration: text to number. A value is taken only if all of it is understood and in range: no
 * sign, no blank at an end, nothing after the number, no overflow. */

#include "config/config-value.h"

/* The integers of the varlink interface are signed. */
#define NUMBER_MAX ((uint64_t) INT64_MAX)

int config_parse_boolean(const char *s, bool *ret) {
        static const char *const words[] = { "no", "yes", "false", "true", "off", "on", "0", "1" };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (streq(s, words[i])) {
                        *ret = i % 2 == 1;
                        return 0;
                }

        return -EINVAL;
}

/* Reads the digits at the beginning of *s and moves *s behind them. strtoull() would take signs and white space. */
static int take_number(const char **s, uint64_t max, uint64_t *ret) {
        const char *p = *s;
        uint64_t value = 0;

        if (*p < '0' || *p > '9')
                return -EINVAL;

        for (; *p >= '0' && *p <= '9'; p++)
                if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *p - '0', &value))
                        return -EINVAL;

        if (value > max)
                return -EINVAL;

        *s = p;
        *ret = value;
        return 0;
}

int config_parse_number(const char *s, uint64_t max, uint64_t *ret) {
        uint64_t value;

        int r = take_number(&s, max, &value);
        if (r < 0)
                return r;
        if (*s != 0)
                return -EINVAL;

        *ret = value;
        return 0;
}

/* Reads what follows the whole number of a percentage: "%", ".5%" or ".05%". */
static int parse_percent_rest(const char *s, uint64_t whole, PolicyAmount *ret) {
        uint64_t value = whole * 100;

        if (*s == '.') {
                s++;
                for (uint64_t unit = 10; unit > 0 && *s >= '0' && *s <= '9'; unit /= 10)
                        value += (*s++ - '0') * unit;
                if (s[-1] == '.')
                        return -EINVAL;
        }

        if (!streq(s, "%") || value > 10000)
                return -EINVAL;

        *ret = (PolicyAmount) { POLICY_AMOUNT_PERCENT, value };
        return 0;
}

int config_parse_amount(const char *s, PolicyAmount *ret) {
        if (streq(s, "infinity")) {
                *ret = (PolicyAmount) { POLICY_AMOUNT_NUMBER, LIMIT_INFINITY };
                return 0;
        }

        uint64_t value;
        int r = take_number(&s, NUMBER_MAX, &value);
        if (r < 0)
                return r;

        if (*s == '.' || *s == '%')
                return value <= 100 ? parse_percent_rest(s, value, ret) : -EINVAL;

        static const char suffixes[] = "KMGT";
        if (*s != 0) {
                const char *suffix = strchr(suffixes, *s);
                if (!suffix || s[1] != 0)
                        return -EINVAL;

                unsigned shift = 10 * (suffix - suffixes + 1);
                if (value > NUMBER_MAX >> shift)
                        return -EINVAL;
                value <<= shift;
        }

        *ret = (PolicyAmount) { POLICY_AMOUNT_NUMBER, value };
        return 0;
}

int config_parse_usec(const char *s, uint64_t *ret) {
        static const struct {
                const char *name;
                uint64_t usec;
        } units[] = {
                { "", USEC_PER_SEC },
                { "us", 1 },
                { "ms", USEC_PER_MSEC },
                { "s", USEC_PER_SEC },
                { "sec", USEC_PER_SEC },
                { "m", 60 * USEC_PER_SEC },
                { "min", 60 * USEC_PER_SEC },
                { "h", 3600 * USEC_PER_SEC },
        };

        if (streq(s, "infinity")) {
                *ret = UINT64_MAX;
                return 0;
        }

        uint64_t sum = 0;
        do {
                uint64_t value;
                int r = take_number(&s, NUMBER_MAX, &value);
                if (r < 0)
                        return r;

                size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyz"), i;
                for (i = 0; i < ELEMENTSOF(units); i++)
                        if (strlen(units[i].name) == n && strncmp(s, units[i].name, n) == 0)
                                break;
                if (i == ELEMENTSOF(units))
                        return -EINVAL;

                if (__builtin_mul_overflow(value, units[i].usec, &value) || __builtin_add_overflow(sum, value, &sum) ||
                                sum > NUMBER_MAX)
                        return -EINVAL;

                s += n;
                s += strspn(s, " \t");
        } while (*s != 0);

        *ret = sum;
        return 0;
}

bool config_unit_is_valid(const char *s) {
        static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\\@";
        static const char *const suffixes[] = { ".service", ".scope", ".socket", ".mount", ".swap" };
        size_t n = strlen(s);

        if (n > 255 || strspn(s, allowed) != n)
                return false;

        for (size_t i = 0; i < ELEMENTSOF(suffixes); i++) {
                size_t m = strlen(suffixes[i]);

                if (n > m && streq(s + n - m, suffixes[i]))
                        return true;
        }

        return false;
}
