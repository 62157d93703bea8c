/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "worker/worker-job.h"

/* Checks what a worker sent as its answer to a request: either an errno of the kernel's and no descriptor, or the
 * buffers that were asked for. fds: what came with it, at most BUFFERS_MAX. buffers: room for n_fds; filled in when
 * buffers pass, with the descriptors of fds, which stay the caller's. Returns true if it passes. */
bool worker_reply_is_sound(const WorkerRequest *request, const WorkerReply *reply, const int *fds, size_t n_fds,
                WorkerBuffer *buffers);
