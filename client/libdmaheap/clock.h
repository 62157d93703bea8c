/* SPDX-License-Identifier: MIT */
/* Times and deadlines: microseconds of CLOCK_MONOTONIC, where DMAHEAP_INFINITY means never. */
#pragma once

#include <stdint.h>
#include <time.h>

#include "dmaheap.h"

#define USEC_PER_SEC UINT64_C(1000000)

/* Returns the current time. */
static inline uint64_t now_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

/* Returns the sum of two times; DMAHEAP_INFINITY if it overflows. */
static inline uint64_t usec_add(uint64_t a, uint64_t b) {
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? DMAHEAP_INFINITY : sum;
}

/* Returns the time left until a deadline, 0 if it has passed; DMAHEAP_INFINITY if there is none. */
static inline uint64_t usec_left(uint64_t deadline) {
        uint64_t now = now_usec();

        if (deadline == DMAHEAP_INFINITY)
                return DMAHEAP_INFINITY;
        return deadline > now ? deadline - now : 0;
}

/* Converts microseconds. */
static inline struct timespec usec_to_timespec(uint64_t usec) {
        return (struct timespec) {
                .tv_sec = (time_t) (usec / USEC_PER_SEC),
                .tv_nsec = (long) (usec % USEC_PER_SEC * 1000),
        };
}
