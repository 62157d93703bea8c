/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "worker/worker-job.h"

/* The daemon's side of one worker: a queue of jobs, and the process that does them while there is one. */
typedef struct Worker Worker;

/* What a worker needs of the pool that keeps it. */
typedef struct WorkerKeeper {
        sd_event *event;

        /* Asks for a process in a control group, with its end of a socket; both descriptors stay the worker's. The
         * answer is given by worker_spawned() to the worker for which worker_awaits(worker, *ret_id) is true. Returns
         * 0; -EAGAIN if it must be asked again a little later; or -errno: there will be no process. */
        int (*spawn)(int cgroup_fd, int worker_fd, uint64_t *ret_id, void *userdata);

        /* The worker is being freed: forget it. */
        void (*on_gone)(Worker *worker, void *userdata);

        void *userdata;
} WorkerKeeper;

typedef enum WorkerState {
        WORKER_WANTED,   /* no process was asked for */
        WORKER_SPAWNING, /* the keeper was asked for a process */
        WORKER_RUNNING,  /* there is a process */
        WORKER_DYING,    /* it was killed, or closed its socket: its exit is awaited */
} WorkerState;

/* To be read and changed by worker-handle.c only, but for `next`, the link of the keeper's list. */
struct Worker {
        Worker *next;
        const WorkerKeeper *keeper;
        const void *client; /* NULL when the client has gone */
        uint64_t cgroup_id;
        int cgroup_fd;
        WorkerState state;
        uint64_t spawn_id; /* WORKER_SPAWNING: from the keeper's spawn() */
        int socket_fd;
        int worker_end_fd; /* until the spawner has it */
        int pidfd;
        WorkerJob *jobs; /* in their order */
        uint64_t last_job_id;
        bool busy;          /* the first job was sent to the process, and is not over */
        bool proven;        /* this process has done a job */
        uint64_t oom_kills; /* of the cgroup, before the process was started or when it was last known to live */
        sd_event_source *socket_source;
        sd_event_source *pidfd_source;
        sd_event_source *timer_source; /* idle, or to ask for a process again */
        sd_event_source *defer_source; /* to do what is due */
};

/* A worker without a process and without jobs. keeper: borrowed, must outlive the worker. Of the parameters only
 * client, cgroup_fd and cgroup_id matter. Returns 0, or -errno. */
int worker_new(const WorkerKeeper *keeper, const WorkerJobParameters *parameters, Worker **ret);

/* Kills the process, and forgets the jobs without reporting them. Calls the keeper's on_gone. Accepts NULL, returns
 * NULL. A worker frees itself, too, when it is not needed any more: only ever from the event loop or
 * worker_spawned(). */
Worker *worker_free(Worker *worker);
DEFINE_CLEANUP(Worker, worker_free);

/* True if this is the worker of that client in that control group. */
bool worker_serves(const Worker *worker, const void *client, uint64_t cgroup_id);

/* Queues a job; on_done is called later, never before this returns. Returns 0, or -errno: then nothing was queued. */
int worker_submit(Worker *worker, const WorkerJobParameters *parameters, worker_done_t on_done, void *userdata,
                WorkerJob **ret);

/* The client has gone: the worker ends, from the event loop, when it has no jobs left. */
void worker_forget_client(Worker *worker);

/* True if the worker waits for the answer to its spawn() with that id. */
bool worker_awaits(const Worker *worker, uint64_t spawn_id);

/* The answer: error is 0 and pidfd becomes the worker's, or error is a negative errno of clone3(2) and there is no
 * process. The worker may be gone when this returns. */
void worker_spawned(Worker *worker, int error, int pidfd);

/* The spawner has ended, and with it the hope for an answer; a process that runs is killed. The worker may be gone when
 * this returns. */
void worker_spawner_lost(Worker *worker);
