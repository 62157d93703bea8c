/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <time.h>

#include "util/macro.h"

/* The clock in µs. */
static inline uint64_t clock_usec(clockid_t clock) {
        struct timespec ts;

        (void) clock_gettime(clock, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

/* CLOCK_BOOTTIME in µs: the clock of the interface, of the ledger and of all intervals of the daemon. */
static inline uint64_t now_usec(void) {
        return clock_usec(CLOCK_BOOTTIME);
}
