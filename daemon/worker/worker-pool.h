/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "worker/worker-job.h"

/* The daemon's side of the spawner and the workers: one worker for each client and control group, started with the
 * first job and ended a second after the last. The jobs of one worker are done in their order; nothing here ever
 * waits. */
typedef struct WorkerPool WorkerPool;

/* spawner_path: the program dmaheapd-spawner. Starts it now, so that a machine where it cannot run is known at the
 * start. Returns 0, or -errno. */
int worker_pool_new(sd_event *event, const char *spawner_path, WorkerPool **ret);

/* Kills all workers and the spawner. Jobs that were not reported never are. Accepts NULL, returns NULL. */
WorkerPool *worker_pool_free(WorkerPool *pool);
DEFINE_CLEANUP(WorkerPool, worker_pool_free);

/* Queues a job; on_done is called later, never before this returns. The parameters are not needed any more when this
 * returns. Returns 0, or -errno: then on_done is not called. */
int worker_pool_submit(WorkerPool *pool, const WorkerJobParameters *parameters, worker_done_t on_done, void *userdata,
                WorkerJob **ret);

/* Ends a client's workers once their jobs are done: the client has no
 * connection left, and its address may be reused. */
void worker_pool_forget_client(WorkerPool *pool, const void *client);

/* How many workers there are, those being started included. */
unsigned worker_pool_n_workers(const WorkerPool *pool);
