/* SPDX-License-Identifier: MIT */
/* A link is one connected socket to the daemon, as an sd_varlink object. One call at a time is on its way on a link,
 * since fds can end up with the wrong message when Allocate calls are pipelined. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-varlink.h>

#include "dmaheap.h"
#include "method.h"

/* Connects to the socket at address, which must fit a sockaddr_un. userdata: for the link's reply callback.
 *
 * wait: what to do when the socket's queue of connections is full: true waits for room until deadline (CLOCK_MONOTONIC,
 * microseconds), false returns -EAGAIN.
 *
 * Returns 0, and the caller ends *ret with link_drop(); -EACCES, -ECONNREFUSED, -ETIMEDOUT, -EAGAIN, -EMFILE, -ENOMEM,
 * with an error in *ret_error as error_set() stores it. */
int link_connect(const char *address, void *userdata, bool wait, uint64_t deadline, sd_varlink **ret,
                DmaHeapError **ret_error);

/* Closes a link and frees it. Its reply callback may still run, with NULL as userdata. Accepts NULL. Returns NULL. */
sd_varlink *link_drop(sd_varlink *link);

/* Returns whether the daemon still holds the other end. Only for a link without a call on its way: bytes that arrived
 * count as an end, since nothing was asked. */
bool link_is_alive(sd_varlink *link);

/* Sets when the next call on the link has to be answered (CLOCK_MONOTONIC, microseconds). A deadline that has passed
 * leaves a microsecond. Returns 0 or a negative errno of sd_varlink. */
int link_set_deadline(sd_varlink *link, uint64_t deadline);

/* Turns the answer that has arrived on the link into a reply, or into an error if error_name is not NULL. Takes all fds
 * of the message and closes those that belong to no buffer.
 *
 * Returns 0 with *ret_reply for dmaheap_reply_free(), or a negative errno with *ret_error as in error.h. */
int link_take_reply(sd_varlink *link, Method method, sd_json_variant *parameters, const char *error_name,
                DmaHeapReply **ret_reply, DmaHeapError **ret_error);
