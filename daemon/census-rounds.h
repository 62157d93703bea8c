/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "census.h"
#include "rounds.h"

/* Takes a census when somebody needs one: one for all who wait, and no more of them than a twentieth of the time allows. */
typedef struct CensusRounds CensusRounds;

/* A census is about to begin; what is returned comes back with its result. */
typedef uint64_t (*census_begin_t)(void *userdata);

/* A complete census. One that fails is taken again, once; of what fails twice, or takes too long, nobody hears but the journal,
 * and who waited for it is called all the same. */
typedef void (*census_end_t)(const CensusResult *result, uint64_t sequence, void *userdata);

/* census is borrowed. */
int census_rounds_new(sd_event *event, Census *census, census_begin_t on_begin, census_end_t on_end, void *userdata, CensusRounds **ret);
CensusRounds *census_rounds_free(CensusRounds *rounds);
DEFINE_CLEANUP(CensusRounds, census_rounds_free);

/* Calls on_done after a census that began after this call; see rounds_wait(). */
int census_rounds_wait(CensusRounds *rounds, round_done_t on_done, void *userdata, RoundWait **ret);

bool census_rounds_busy(const CensusRounds *rounds);
