/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-json.h>

#include "request.h"

/* Makes the parameters of replies and errors as the interface describes them. Each returns 0 and the caller's object,
 * or -errno. */

/* ListHeaps */
int reply_json_heaps(const HeapRegistry *registry, sd_json_variant **ret);

/* GetUsage */
int reply_json_usage(Accounting *accounting, const Client *client, const Peer *peer, sd_json_variant **ret);

/* ListClients */
int reply_json_clients(Accounting *accounting, const ClientRegistry *clients, sd_json_variant **ret);

/* ListBuffers: only of this unit, or of any if NULL; only of this user id, or of any if UINT64_MAX. */
int reply_json_live_buffers(Accounting *accounting, const char *unit, uint64_t uid, sd_json_variant **ret);

/* Allocate: reply must be a success. The fds have to be pushed in the order of reply->buffers. */
int reply_json_buffers(const AllocateReply *reply, sd_json_variant **ret);

/* The error of a failed Allocate: its full name, static, and its parameters. -EINVAL for a success, and for
 * ALLOCATE_PERMISSION_DENIED and ALLOCATE_INVALID_PARAMETER, which are errors of org.varlink.service. */
int reply_json_error(const AllocateReply *reply, const char **ret_error, sd_json_variant **ret);
