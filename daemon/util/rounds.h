/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* Work that is done in rounds, each of which serves everybody who asked before it began, and which does not begin again too
 * soon: reading what is declared about modules, counting the kernel's buffers. */
typedef struct Rounds Rounds;

/* One who waits for a round. */
typedef struct RoundWait RoundWait;
typedef void (*round_done_t)(void *userdata);

/* Begins a round; its end is reported by rounds_finished(). When it returns a negative errno the round is over at once. */
typedef int (*round_start_t)(void *userdata);

int rounds_new(sd_event *event, round_start_t on_start, void *userdata, Rounds **ret);

/* Forgets who waits, and calls nobody. */
Rounds *rounds_free(Rounds *rounds);
DEFINE_CLEANUP(Rounds, rounds_free);

/* How long after the beginning of a round the next may begin, in µs. */
void rounds_set_interval(Rounds *rounds, uint64_t interval);

/* The round that on_start began is over: calls those it served. */
void rounds_finished(Rounds *rounds);

/* Calls on_done once, never from within, at the end of a round that began after this call. Returns 0, or -errno. */
int rounds_wait(Rounds *rounds, round_done_t on_done, void *userdata, RoundWait **ret);

/* Stops waiting. Accepts NULL, returns NULL. */
RoundWait *round_wait_cancel(RoundWait *wait);

/* Whether a round is under way, or due. */
bool rounds_busy(const Rounds *rounds);

/* When the last round ended, by now_usec(); 0 if none has. */
uint64_t rounds_ended_at(const Rounds *rounds);
uint64_t rounds_started_at(const Rounds *rounds);
