/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "util/macro.h"

/* Work that is done in rounds: to count the kernel's buffers, to read what is declared about modules. One round serves
 * all that came before it began, and rounds do not follow each other too fast. */
typedef struct Rounds Rounds;

/* One that waits for a round. */
typedef struct RoundWait RoundWait;

/* Called once, from the event loop or from rounds_finished(). The wait is gone when this is called. The rounds must not
 * be freed in it. */
typedef void (*round_done_t)(void *userdata);

/* Begins a round; the callee calls rounds_finished() at its end. If it
 * returns a negative errno, the round is over at once. */
typedef int (*round_start_t)(void *userdata);

/* on_start is called with userdata, from the event loop. Returns 0, or -ENOMEM. */
int rounds_new(sd_event *event, round_start_t on_start, void *userdata, Rounds **ret);

/* Forgets all waits without calling anybody. Accepts NULL, returns NULL. */
Rounds *rounds_free(Rounds *rounds);
DEFINE_CLEANUP(Rounds, rounds_free);

/* How long after the beginning of one round the next may begin, in µs; 0 at first. */
void rounds_set_interval(Rounds *rounds, uint64_t interval);

/* The round that on_start began is over. Calls those that it served, in the order in which they came. */
void rounds_finished(Rounds *rounds);

/* Calls on_done once at the end of a round that begins after this call, never before this returns. The wait in *ret is
 * valid until then, or until it is cancelled. Returns 0, or -errno. */
int rounds_wait(Rounds *rounds, round_done_t on_done, void *userdata, RoundWait **ret);

/* Stops waiting. Accepts NULL, returns NULL. */
RoundWait *round_wait_cancel(RoundWait *wait);

/* True if a round is running, or due. */
bool rounds_busy(const Rounds *rounds);

/* When the last round ended, or began, by now_usec(); 0 if none has. */
uint64_t rounds_ended_at(const Rounds *rounds);
uint64_t rounds_started_at(const Rounds *rounds);
