/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"

/* Watches what a client sends, without taking it: sd-varlink has no time-out for a peer that connects and says nothing, or
 * begins a message and never ends it. */
typedef struct InputWatch InputWatch;

/* Something has arrived, and so many bytes are waiting now. */
typedef void (*input_arrived_t)(size_t available, void *userdata);

/* The peer has been silent for too long; called at most once. */
typedef void (*input_stalled_t)(void *userdata);

/* fd: the connection, a stream of messages that each end in a NUL byte; borrowed.
 *
 * on_arrived is called before anybody else can have read what arrived. on_stalled is called when no whole message has come within INPUT_FIRST_MESSAGE_USEC, when a part of a message is followed
 * by nothing for INPUT_PART_USEC, or when one message takes longer than INPUT_FIRST_MESSAGE_USEC. Returns 0, or -errno. */
int input_watch_new(sd_event *event, int fd, input_arrived_t on_arrived, input_stalled_t on_stalled, void *userdata, InputWatch **ret);
InputWatch *input_watch_free(InputWatch *watch);
DEFINE_CLEANUP(InputWatch, input_watch_free);

#define INPUT_FIRST_MESSAGE_USEC (60 * USEC_PER_SEC)
#define INPUT_PART_USEC (10 * USEC_PER_SEC)
