/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "spawner-link.h"
#include "worker-pool.h"

/* One worker as the pool sees it: a queue of jobs, and the process that does them while there is one. */
typedef struct Worker Worker;

struct WorkerJob {
        WorkerJob *next;
        Worker *worker;
        WorkerRequest request;
        int device_fd;
        bool killed;
        bool lost_once; /* a process that was to do it died before it could be told */
        worker_done_t on_done;
        void *userdata;
};

typedef enum WorkerState {
        WORKER_WANTED,   /* the spawner has not been asked */
        WORKER_SPAWNING, /* it has */
        WORKER_RUNNING,  /* there is a process */
        WORKER_DYING,    /* it was killed, or closed its socket: its exit is awaited */
} WorkerState;

struct Worker {
        Worker *next;
        WorkerPool *pool;
        uint64_t id;
        const void *client;
        uint64_t cgroup_id;
        int cgroup_fd;
        WorkerState state;
        int socket_fd;
        int worker_end_fd; /* until the spawner has it */
        int pidfd;
        WorkerJob *jobs;   /* in their order */
        bool busy;         /* the first of them was sent */
        bool proven;       /* this process has done a job */
        uint64_t oom_kills; /* of the control group: before the process was started, or since it was last known to live */
        sd_event_source *socket_source;
        sd_event_source *pidfd_source;
        sd_event_source *timer_source; /* idle, or to ask the spawner again */
        sd_event_source *defer_source; /* jobs to end that no worker has seen */
};

struct WorkerPool {
        sd_event *event;
        SpawnerLink *spawner;
        Worker *workers;
        unsigned n_workers;
        uint64_t last_id;
};

/* Forgets the worker and its jobs, calling nobody; its process ends with its socket. Accepts NULL, returns NULL. */
Worker *worker_free(Worker *worker);
DEFINE_CLEANUP(Worker, worker_free);

WorkerJob *worker_job_free(WorkerJob *job);
DEFINE_CLEANUP(WorkerJob, worker_job_free);

/* Does what is due: frees a worker that is not needed, starts one that is, gives it its next job. */
void worker_next(Worker *worker);

/* The same, from the event loop. Returns 0, or -errno. */
int worker_defer(Worker *worker);

/* The spawner has started its process. pidfd becomes the worker's. Returns 0, or -errno. */
int worker_started(Worker *worker, int pidfd);

/* There will be no process: the jobs end with this outcome. */
void worker_not_started(Worker *worker, WorkerOutcome outcome);

/* Kills the process. The job in hand ends when that has been seen. */
void worker_kill(Worker *worker);
