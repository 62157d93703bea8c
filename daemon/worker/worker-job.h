/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "util/macro.h"
#include "worker/worker-protocol.h"

/* One allocation that a worker is to do, or is doing. */
typedef struct WorkerJob WorkerJob;

typedef struct WorkerJobParameters {
        const void *client; /* whose worker does it; only compared */
        int cgroup_fd;      /* the client's control group, borrowed */
        uint64_t cgroup_id;
        int device_fd;      /* the heap's device, borrowed */
        uint64_t size;      /* bytes of each buffer, whole pages */
        uint32_t n_buffers; /* 1 to BUFFERS_MAX */
        uint32_t flags;     /* WORKER_READ_ONLY, WORKER_UDMABUF */
        const char *label;  /* or NULL */
} WorkerJobParameters;

typedef enum WorkerOutcome {
        WORKER_ALLOCATED,  /* the buffers are there and were checked */
        WORKER_ERROR,      /* the kernel refused: see error */
        WORKER_NO_PROCESS, /* no worker could be started: a limit on processes, or no spawner */
        WORKER_NO_CGROUP,  /* the control group is gone, or cannot hold a process */
        WORKER_KILLED,     /* the worker died, or was killed: by worker_job_kill(), or since it broke the protocol */
        WORKER_OOM_KILLED, /* the kernel's OOM killer killed the worker */
} WorkerOutcome;

typedef struct WorkerBuffer {
        int fd;
        uint64_t inode;
} WorkerBuffer;

typedef struct WorkerResult {
        WorkerOutcome outcome;
        int error;             /* WORKER_ERROR: negative errno */
        WorkerBuffer *buffers; /* WORKER_ALLOCATED: as many as were asked for; take the fds that are to stay open */
        size_t n_buffers;
} WorkerResult;

/* Called from the event loop, exactly once for each job that was submitted, unless its worker is freed. Nothing of the
 * job is left in a worker then, so what was reserved for it can be given back. The job and the result are gone when
 * this returns. */
typedef void (*worker_done_t)(WorkerResult *result, void *userdata);

/* Ends a job whose result is of no use any more. Its worker_done_t is still called, with WORKER_KILLED: in the next
 * turn of the event loop if the job has not begun; else when its worker, which is killed, has exited and the kernel has
 * the memory back. */
void worker_job_kill(WorkerJob *job); /* in worker-handle.c */
