/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "util/macro.h"

/* Watches the bytes that a client sends, without reading them: sd-varlink has no timeout for a peer that connects and
 * sends nothing, or begins a message and never ends it. */
typedef struct InputWatch InputWatch;

/* Bytes have arrived; `available` bytes are waiting now. May free the watch, which is not touched afterwards. */
typedef void (*input_arrived_t)(size_t available, void *userdata);

/* The peer has been silent for too long. Called at most once. May free the watch, which is not touched afterwards. */
typedef void (*input_stalled_t)(void *userdata);

/* fd: the connection, a stream of messages that each end in a NUL byte; duplicated.
 *
 * on_arrived is called before another event source of the loop reads the bytes. on_stalled is called when the first
 * message is not whole within INPUT_FIRST_MESSAGE_USEC, when nothing follows a part of a message for INPUT_PART_USEC,
 * or when one message takes longer than INPUT_FIRST_MESSAGE_USEC. Returns 0, or -errno. */
int input_watch_new(sd_event *event, int fd, input_arrived_t on_arrived, input_stalled_t on_stalled, void *userdata,
                InputWatch **ret);
InputWatch *input_watch_free(InputWatch *watch);
DEFINE_CLEANUP(InputWatch, input_watch_free);

#define INPUT_FIRST_MESSAGE_USEC (60 * USEC_PER_SEC)
#define INPUT_PART_USEC (10 * USEC_PER_SEC)
