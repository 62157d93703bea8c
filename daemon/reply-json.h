/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-json.h>

#include "request.h"

/* The parameters of replies and errors, as the interface describes them. Each returns 0 and the caller's object, or -errno. */

/* ListHeaps */
int reply_json_heaps(const HeapRegistry *registry, sd_json_variant **ret);

/* GetUsage */
int reply_json_usage(Accounting *accounting, const Client *client, const Peer *peer, sd_json_variant **ret);

/* ListClients */
int reply_json_clients(Accounting *accounting, const ClientRegistry *clients, sd_json_variant **ret);

/* ListBuffers; unit may be NULL and uid UINT64_MAX, for all. */
int reply_json_live_buffers(Accounting *accounting, const char *unit, uint64_t uid, sd_json_variant **ret);

/* Allocate, when it has succeeded; descriptors are numbered as the buffers are. */
int reply_json_buffers(const AllocateReply *reply, sd_json_variant **ret);

/* Allocate, when it has failed with an error of the interface: its full name, static, and its parameters. -EINVAL for a
 * success, and for the errors that are varlink's own. */
int reply_json_error(const AllocateReply *reply, const char **ret_error, sd_json_variant **ret);
