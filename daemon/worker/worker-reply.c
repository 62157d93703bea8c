/* SPDX-License-Identifier: GPL-2.0-only */

/* Checks the answers of workers, since a client may have taken one over. The invariant: buffers that pass are dma-bufs
 * of the size and in the number that were asked for, and all different. */

#include "worker/buffer.h"
#include "worker/worker-reply.h"

bool worker_reply_is_sound(const WorkerRequest *request, const WorkerReply *reply, const int *fds, size_t n_fds,
                WorkerBuffer *buffers) {
        if (reply->id != request->id)
                return false;
        if (reply->error != 0)
                return reply->error < 0 && reply->error >= -ERRNO_MAX && n_fds == 0;
        if (reply->n_buffers != request->n_buffers || n_fds != request->n_buffers)
                return false;

        for (size_t i = 0; i < n_fds; i++) {
                buffers[i].fd = fds[i];
                if (buffer_check(fds[i], request->size, &buffers[i].inode) < 0)
                        return false;

                for (size_t j = 0; j < i; j++)
                        if (buffers[j].inode == buffers[i].inode)
                                return false;
        }

        return true;
}
