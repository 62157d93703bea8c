/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* For tests of what happens in an event loop. */

#include <fcntl.h>
#include <systemd/sd-event.h>

#include "unit.h"
#include "util/time-util.h"

/* A test whose event does not come within this time has failed. */
#define LOOP_DEADLINE_USEC (30 * USEC_PER_SEC)

/* Runs the loop until the condition is true. It may come true outside of the loop: in shared memory, say. */
#define loop_until(event, condition)                                                 \
        do {                                                                         \
                uint64_t _deadline = now_usec() + LOOP_DEADLINE_USEC;                \
                while (!(condition)) {                                               \
                        assert_true(now_usec() < _deadline);                         \
                        assert_true(sd_event_run((event), 10 * USEC_PER_MSEC) >= 0); \
                }                                                                    \
        } while (0)

/* Runs the loop until there is nothing to do at once. */
static inline void loop_settle(sd_event *event) {
        for (unsigned i = 0; sd_event_run(event, 0) > 0; i++)
                assert_true(i < 10000);
}

/* How many of the first 256 descriptors are open. */
static inline unsigned n_open_fds(void) {
        unsigned n = 0;

        for (int fd = 0; fd < 256; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}
