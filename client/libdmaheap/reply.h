/* SPDX-License-Identifier: MIT */
/* The daemon's answer to one call, and the fds that came with it: DmaHeapReply. */
#pragma once

#include <systemd/sd-json.h>

#include "arena.h"
#include "dmaheap.h"
#include "method.h"

struct DmaHeapReply {
        Arena arena; /* owns everything below but the fds and json */
        Method method;
        char *json; /* the parameters on one line that ends with a newline */

        /* of Allocate */
        const char *heap;
        const DmaHeapBuffer *buffers;
        int *fds; /* owned; -EBADF where taken */
        size_t n_buffers;

        const DmaHeapUsageReport *usage;      /* of GetUsage */
        const DmaHeapDaemonInfo *daemon_info; /* of GetInfo */

        /* of ListHeaps, ListClients and ListBuffers: DmaHeapInfo, DmaHeapClient or DmaHeapLiveBuffer */
        const void *const *entries;
        size_t n_entries;
};

/* Parses the parameters of a method's reply. fds: n_fds file descriptors that came with it. Each fd that belongs to a
 * buffer moves into the reply, and -EBADF takes its place; the caller keeps the others.
 *
 * Returns 0, and the caller frees *ret with dmaheap_reply_free(); -EPROTO if the parameters are not what the interface
 * says; -ENOMEM. On failure the fds that had moved are closed. */
int reply_parse(Method method, sd_json_variant *parameters, int *fds, size_t n_fds, DmaHeapReply **ret);
