/* SPDX-License-Identifier: GPL-2.0-only */

/* Decides when a census is taken. The invariants: all that wait share one census, which began after each of them came;
 * and a result is reported with the sequence of its census's beginning, since later records may not be in it. */

#include <inttypes.h>
#include <sys/epoll.h>

#include "accounting/census-rounds.h"
#include "util/log.h"
#include "util/time-util.h"

/* Censuses use at most a twentieth of the time: the pause is 25 times the last one, since the next may take longer. But
 * a request never waits more than a second for one to begin; if a census takes more than 40 ms, this bound wins. */
#define CENSUS_SHARE 25U
#define CENSUS_INTERVAL_MAX_USEC USEC_PER_SEC

/* A census that takes longer is killed. It is not taken again in this round. */
#define CENSUS_TIMEOUT_USEC (10 * USEC_PER_SEC)

struct CensusRounds {
        sd_event *event;
        Census *census;
        census_begin_t on_begin;
        census_end_t on_end;
        void *userdata;
        Rounds *rounds;
        Child *run; /* NULL: none is under way */
        uint64_t sequence;
        sd_event_source *source;
        sd_event_source *timer;
        bool last_try; /* of this round: if it fails, the round ends */
};

/* Stops watching the run, which becomes the caller's. */
static Child *run_take(CensusRounds *rounds) {
        rounds->source = sd_event_source_disable_unref(rounds->source);
        rounds->timer = sd_event_source_disable_unref(rounds->timer);

        return TAKE_PTR(rounds->run);
}

CensusRounds *census_rounds_free(CensusRounds *rounds) {
        if (!rounds)
                return NULL;

        child_free(run_take(rounds));
        rounds_free(rounds->rounds);
        sd_event_unref(rounds->event);
        free(rounds);
        return NULL;
}

static int on_run_over(sd_event_source *source, int fd, uint32_t revents, void *userdata);

static int on_timeout(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        CensusRounds *rounds = userdata;

        rounds->last_try = true; /* a second try would take as long */
        child_kill(rounds->run);
        return 0;
}

static int run_begin(CensusRounds *rounds) {
        int r;

        rounds->sequence = rounds->on_begin(rounds->userdata);

        r = census_start(rounds->census, &rounds->run);
        if (r < 0)
                return log_warning_errno(r, "Cannot begin a census of the buffers: %m");

        r = sd_event_add_io(rounds->event, &rounds->source, child_pidfd(rounds->run), EPOLLIN, on_run_over, rounds);
        if (r >= 0)
                r = sd_event_add_time_relative(rounds->event,
                                &rounds->timer,
                                CLOCK_MONOTONIC,
                                CENSUS_TIMEOUT_USEC,
                                0,
                                on_timeout,
                                rounds);
        if (r < 0)
                child_free(run_take(rounds));
        return r;
}

static int on_run_over(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        CensusRounds *rounds = userdata;
        _cleanup_(census_result_freep) CensusResult *result = NULL;

        int r = census_finish(run_take(rounds), &result);
        if (r < 0 && !rounds->last_try) {
                (void) log_warning_errno(r, "A census of the buffers failed, and is taken again: %m");
                rounds->last_try = true;
                r = run_begin(rounds);
                if (r >= 0)
                        return 0;
        }
        if (r < 0)
                (void) log_warning_errno(r, "A census of the buffers failed, so no buffer is taken as freed: %m");
        else
                rounds->on_end(result, rounds->sequence, rounds->userdata);

        uint64_t duration = now_usec() - rounds_started_at(rounds->rounds);
        log_debug("A census took %" PRIu64 " us.", duration);
        rounds_set_interval(rounds->rounds, MIN(duration * CENSUS_SHARE, CENSUS_INTERVAL_MAX_USEC));
        rounds_finished(rounds->rounds);
        return 0;
}

static int on_start(void *userdata) {
        CensusRounds *rounds = userdata;

        if (census_method(rounds->census) == CENSUS_METHOD_NONE)
                return -EOPNOTSUPP;

        rounds->last_try = false;
        return run_begin(rounds);
}

int census_rounds_new(sd_event *event, Census *census, census_begin_t on_begin, census_end_t on_end, void *userdata,
                CensusRounds **ret) {
        _cleanup_(census_rounds_freep) CensusRounds *rounds = malloc(sizeof(CensusRounds));
        if (!rounds)
                return -ENOMEM;

        *rounds = (CensusRounds) {
                .event = sd_event_ref(event),
                .census = census,
                .on_begin = on_begin,
                .on_end = on_end,
                .userdata = userdata,
        };

        int r = rounds_new(event, on_start, rounds, &rounds->rounds);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(rounds);
        return 0;
}

int census_rounds_wait(CensusRounds *rounds, round_done_t on_done, void *userdata, RoundWait **ret) {
        return rounds_wait(rounds->rounds, on_done, userdata, ret);
}

bool census_rounds_busy(const CensusRounds *rounds) {
        return rounds_busy(rounds->rounds);
}
