/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "macro.h"
#include "worker-protocol.h"

/* The daemon's side of the spawner and the workers: one worker for each client and control group, started with the first
 * job and ended a second after the last. Jobs of one worker are done in their order; nothing here ever waits. */
typedef struct WorkerPool WorkerPool;

/* One allocation that a worker is to do, or is doing. */
typedef struct WorkerJob WorkerJob;

typedef enum WorkerOutcome {
        WORKER_ALLOCATED,     /* the buffers are there and were checked */
        WORKER_ERROR,         /* the kernel refused: see error */
        WORKER_NO_PROCESS,    /* no worker could be started: a limit on processes, or no spawner */
        WORKER_NO_CGROUP,     /* the control group is gone, or cannot hold a process */
        WORKER_KILLED,        /* the worker died of a signal, or was told to */
        WORKER_OOM_KILLED,    /* the kernel's OOM killer took it */
        WORKER_MISBEHAVED,    /* what it sent was not what was asked for; it was killed */
} WorkerOutcome;

typedef struct WorkerBuffer {
        int fd;
        uint64_t inode;
} WorkerBuffer;

typedef struct WorkerResult {
        WorkerOutcome outcome;
        int error;             /* WORKER_ERROR: negative errno */
        WorkerBuffer *buffers; /* WORKER_ALLOCATED: as many as asked for; take the fds that are to stay open */
        size_t n_buffers;
} WorkerResult;

/* Called exactly once for each job that was submitted, never from within worker_pool_submit(). When it is called nothing of
 * the job is left in a worker: what was reserved for it can be given back. */
typedef void (*worker_done_t)(WorkerResult *result, void *userdata);

typedef struct WorkerJobParameters {
        const void *client;  /* only compared */
        int cgroup_fd;       /* the client's control group, borrowed */
        uint64_t cgroup_id;
        int device_fd;       /* the heap's device, borrowed */
        uint64_t size;       /* bytes of each buffer, whole pages */
        uint32_t n_buffers;  /* 1 to BUFFERS_MAX */
        uint32_t flags;      /* WORKER_READ_ONLY, WORKER_UDMABUF */
        const char *label;   /* or NULL */
} WorkerJobParameters;

/* spawner_path: the program dmaheapd-spawner. Starts it, so that a machine where it cannot run is known at the start. */
int worker_pool_new(sd_event *event, const char *spawner_path, WorkerPool **ret);

/* Ends all workers and the spawner; calls nobody. */
WorkerPool *worker_pool_free(WorkerPool *pool);
DEFINE_CLEANUP(WorkerPool, worker_pool_free);

/* Queues a job. Returns 0, or -errno: then on_done is not called. */
int worker_pool_submit(WorkerPool *pool, const WorkerJobParameters *parameters, worker_done_t on_done, void *userdata,
                       WorkerJob **ret);

/* The result is of no use any more. A job that waits ends from the event loop with WORKER_KILLED; one that is being done
 * costs its worker's life, so that the kernel gives the memory back. on_done is still called. */
void worker_job_kill(WorkerJob *job);

/* Ends a client's workers at once: it has no connection left. */
void worker_pool_forget_client(WorkerPool *pool, const void *client);

/* How many workers there are, those being started included. */
unsigned worker_pool_n_workers(const WorkerPool *pool);
