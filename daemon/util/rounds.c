/* SPDX-License-Identifier: GPL-2.0-only */

/* Does work in rounds. The invariant: a waiter is served by a round that began after the waiter came. It is never
 * served by one that was running then, which may have read already what has changed since. */

#include "util/list.h"
#include "util/rounds.h"
#include "util/time-util.h"

struct RoundWait {
        RoundWait *next;
        Rounds *rounds;
        uint64_t after; /* the number of the last round that does not serve this one */
        round_done_t on_done;
        void *userdata;
};

struct Rounds {
        sd_event *event;
        round_start_t on_start;
        void *userdata;
        RoundWait *waits; /* in the order in which they came */
        uint64_t n_started;
        uint64_t interval;
        uint64_t started_at;
        uint64_t ended_at;
        bool running;
        sd_event_source *timer; /* the beginning of the next round */
};

int rounds_new(sd_event *event, round_start_t on_start, void *userdata, Rounds **ret) {
        Rounds *rounds = calloc(1, sizeof(Rounds));
        if (!rounds)
                return -ENOMEM;

        rounds->event = sd_event_ref(event);
        rounds->on_start = on_start;
        rounds->userdata = userdata;
        *ret = rounds;
        return 0;
}

Rounds *rounds_free(Rounds *rounds) {
        if (!rounds)
                return NULL;

        while (rounds->waits)
                free(LIST_TAKE_FIRST(rounds->waits));
        sd_event_source_disable_unref(rounds->timer);
        sd_event_unref(rounds->event);
        free(rounds);
        return NULL;
}

void rounds_set_interval(Rounds *rounds, uint64_t interval) {
        rounds->interval = interval;
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Rounds *rounds = userdata;

        rounds->timer = sd_event_source_disable_unref(rounds->timer);
        rounds->n_started++;
        rounds->started_at = now_usec();
        rounds->running = true;

        if (rounds->on_start(rounds->userdata) < 0)
                rounds_finished(rounds);
        return 0;
}

/* Makes a round begin as soon as it may, unless one is running: its end calls this again. */
static int rounds_schedule(Rounds *rounds) {
        uint64_t due = rounds->n_started > 0 ? rounds->started_at + rounds->interval : 0, now = now_usec();

        if (rounds->timer || rounds->running)
                return 0;

        return sd_event_add_time_relative(
                        rounds->event, &rounds->timer, CLOCK_MONOTONIC, due > now ? due - now : 0, 1, on_timer, rounds);
}

/* The first that came before the last round began. */
static RoundWait *find_served(const Rounds *rounds) {
        for (RoundWait *wait = rounds->waits; wait; wait = wait->next)
                if (wait->after < rounds->n_started)
                        return wait;
        return NULL;
}

void rounds_finished(Rounds *rounds) {
        RoundWait *wait;

        rounds->running = false;
        rounds->ended_at = now_usec();

        /* A callback may add and cancel waits: search anew each time. */
        while ((wait = find_served(rounds))) {
                _cleanup_free_ RoundWait *served = wait;

                LIST_REMOVE(rounds->waits, served);
                served->on_done(served->userdata);
        }

        if (rounds->waits)
                (void) rounds_schedule(rounds);
}

int rounds_wait(Rounds *rounds, round_done_t on_done, void *userdata, RoundWait **ret) {
        RoundWait *wait = malloc(sizeof(RoundWait));
        if (!wait)
                return -ENOMEM;

        int r = rounds_schedule(rounds);
        if (r < 0) {
                free(wait);
                return r;
        }

        *wait = (RoundWait) {
                .rounds = rounds,
                .after = rounds->n_started,
                .on_done = on_done,
                .userdata = userdata,
        };

        /* First come, first served: what a round has found to be free may not suffice for all. */
        LIST_APPEND(rounds->waits, wait);
        *ret = wait;
        return 0;
}

RoundWait *round_wait_cancel(RoundWait *wait) {
        if (!wait)
                return NULL;

        LIST_REMOVE(wait->rounds->waits, wait);
        free(wait);
        return NULL;
}

bool rounds_busy(const Rounds *rounds) {
        return rounds->running || rounds->waits;
}

uint64_t rounds_ended_at(const Rounds *rounds) {
        return rounds->ended_at;
}

uint64_t rounds_started_at(const Rounds *rounds) {
        return rounds->started_at;
}
