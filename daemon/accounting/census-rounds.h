/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "census/census.h"
#include "util/rounds.h"

/* Takes a census when somebody waits for one: one for all that wait, and in at most a twentieth of the time. */
typedef struct CensusRounds CensusRounds;

/* Called before a census begins. Its return value is passed to census_end_t with the result of this census. */
typedef uint64_t (*census_begin_t)(void *userdata);

/* Called with a complete census, before those that waited for it. A census that fails is taken again, once. If it fails
 * twice, or takes too long, that is logged and this is not called; those that waited are called all the same. */
typedef void (*census_end_t)(const CensusResult *result, uint64_t sequence, void *userdata);

/* census: borrowed, must outlive the rounds. Returns 0, or -ENOMEM. */
int census_rounds_new(sd_event *event, Census *census, census_begin_t on_begin, census_end_t on_end, void *userdata,
                CensusRounds **ret);

/* Kills a census that is under way, and calls nobody. Accepts NULL, returns NULL. */
CensusRounds *census_rounds_free(CensusRounds *rounds);
DEFINE_CLEANUP(CensusRounds, census_rounds_free);

/* Calls on_done after a census that began after this call; see rounds_wait(). */
int census_rounds_wait(CensusRounds *rounds, round_done_t on_done, void *userdata, RoundWait **ret);

/* True if a census is under way, or due. */
bool census_rounds_busy(const CensusRounds *rounds);
