/* SPDX-License-Identifier: MIT */
/* Amounts of memory for people: "8M", "1.5G". Header only: the library and the programs share it. */
#pragma once

#include <stdint.h>

/* Scales *n, a number of bytes, to its largest unit of 1024, rounding down. *ret_tenths is the first digit behind the
 * point, 0 to 9. Returns the unit: one of "BKMGTPE". */
static inline char amount_scale(uint64_t *n, uint64_t *ret_tenths) {
        static const char units[] = "BKMGTPE";
        uint64_t rest = 0;
        const char *unit = units;

        for (; *n >= 1024; unit++) {
                rest = *n % 1024;
                *n /= 1024;
        }
        *ret_tenths = rest * 10 / 1024;
        return *unit;
}
