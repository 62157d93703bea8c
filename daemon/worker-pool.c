/* SPDX-License-Identifier: GPL-2.0-only */

/* Every allocation is done by a process in the client's control group. The pool finds the worker for a job, or adds one, and
 * brings together workers and what the spawner says of them; the rest is the worker's own affair. */

#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>

#include "fd-util.h"
#include "list.h"
#include "log.h"
#include "worker-handle.h"

static WorkerOutcome outcome_of_clone(int error) {
        switch (error) {
        case -EBUSY:      /* it has controllers for its children */
        case -EOPNOTSUPP: /* it is in an invalid domain */
        case -ENODEV:     /* it is gone */
        case -ENOENT:
        case -EACCES:
        case -EPERM:
                return WORKER_NO_CGROUP;
        default: /* EAGAIN: pids.max */
                return WORKER_NO_PROCESS;
        }
}

static void on_spawner_reply(uint64_t id, int error, int pidfd, void *userdata) {
        WorkerPool *pool = userdata;
        Worker *worker;

        for (worker = pool->workers; worker; worker = worker->next)
                if (worker->id == id && worker->state == WORKER_SPAWNING)
                        break;

        if (!worker) { /* its client has gone meanwhile, and so will it, even from a control group that is frozen */
                if (pidfd >= 0)
                        (void) pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
                safe_close(pidfd);
                return;
        }

        if (error == 0)
                error = worker_started(worker, pidfd);

        if (error < 0) {
                WorkerOutcome outcome = outcome_of_clone(error);

                (void) log_debug_errno(error, "Cannot start a worker: %m");
                worker_not_started(worker, outcome);
        }

        worker_next(worker);
}

/* Workers die with the spawner and say so themselves; but not one that was frozen before it could ask for that. */
static void on_spawner_lost(void *userdata) {
        WorkerPool *pool = userdata;

        for (Worker *worker = pool->workers, *next; worker; worker = next) {
                next = worker->next;

                if (worker->state == WORKER_RUNNING)
                        worker_kill(worker);
                else if (worker->state == WORKER_SPAWNING) {
                        worker_not_started(worker, WORKER_NO_PROCESS);
                        worker_next(worker);
                }
        }
}

int worker_pool_new(sd_event *event, const char *spawner_path, WorkerPool **ret) {
        _cleanup_(worker_pool_freep) WorkerPool *pool = calloc(1, sizeof(WorkerPool));
        if (!pool)
                return -ENOMEM;

        pool->event = sd_event_ref(event);

        int r = spawner_link_new(event, spawner_path, on_spawner_reply, on_spawner_lost, pool, &pool->spawner);
        if (r < 0)
                return r;

        r = spawner_link_start(pool->spawner);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(pool);
        return 0;
}

WorkerPool *worker_pool_free(WorkerPool *pool) {
        if (!pool)
                return NULL;

        while (pool->workers)
                worker_free(pool->workers);
        spawner_link_free(pool->spawner);
        sd_event_unref(pool->event);
        free(pool);
        return NULL;
}

static int pool_add_worker(WorkerPool *pool, const WorkerJobParameters *parameters, Worker **ret) {
        _cleanup_(worker_freep) Worker *worker = malloc(sizeof(Worker));
        if (!worker)
                return -ENOMEM;

        *worker = (Worker) {
                .client = parameters->client,
                .cgroup_id = parameters->cgroup_id,
                .cgroup_fd = fcntl(parameters->cgroup_fd, F_DUPFD_CLOEXEC, 3),
                .socket_fd = -EBADF,
                .worker_end_fd = -EBADF,
                .pidfd = -EBADF,
        };
        if (worker->cgroup_fd < 0)
                return -errno;

        worker->pool = pool;
        LIST_PREPEND(pool->workers, worker);
        pool->n_workers++;
        *ret = TAKE_PTR(worker);
        return 0;
}

int worker_pool_submit(WorkerPool *pool, const WorkerJobParameters *parameters, worker_done_t on_done, void *userdata,
                       WorkerJob **ret) {
        _cleanup_(worker_job_freep) WorkerJob *job = malloc(sizeof(WorkerJob));
        Worker *worker;
        int r;

        if (!job)
                return -ENOMEM;

        *job = (WorkerJob) {
                .request = {
                        .id = ++pool->last_id,
                        .size = parameters->size,
                        .n_buffers = parameters->n_buffers,
                        .flags = parameters->flags,
                },
                .device_fd = fcntl(parameters->device_fd, F_DUPFD_CLOEXEC, 3),
                .on_done = on_done,
                .userdata = userdata,
        };
        if (job->device_fd < 0)
                return -errno;
        if (parameters->label)
                (void) strncpy(job->request.label, parameters->label, BUFFER_LABEL_MAX);

        for (worker = pool->workers; worker; worker = worker->next)
                if (worker->client == parameters->client && worker->cgroup_id == parameters->cgroup_id)
                        break;
        if (!worker) {
                r = pool_add_worker(pool, parameters, &worker);
                if (r < 0)
                        return r;
        }

        /* Started from the event loop: what fails at once is still reported after this has returned. */
        r = worker_defer(worker);
        if (r < 0) {
                if (!worker->jobs && worker->state == WORKER_WANTED)
                        worker_free(worker);
                return r;
        }

        job->worker = worker;
        LIST_APPEND(worker->jobs, job);
        *ret = TAKE_PTR(job);
        return 0;
}

void worker_job_kill(WorkerJob *job) {
        Worker *worker = job->worker;

        job->killed = true;
        if (worker->busy && worker->jobs == job)
                worker_kill(worker);
        else
                (void) worker_defer(worker);
}

void worker_pool_forget_client(WorkerPool *pool, const void *client) {
        for (Worker *worker = pool->workers, *next; worker; worker = next) {
                next = worker->next;

                if (worker->client != client)
                        continue;

                worker->client = NULL; /* the address may be another client's soon */

                /* From the event loop: this may be in the middle of what the worker's last job has led to. */
                if (!worker->jobs)
                        (void) worker_defer(worker);
        }
}

unsigned worker_pool_n_workers(const WorkerPool *pool) {
        return pool->n_workers;
}
