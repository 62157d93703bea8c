/* SPDX-License-Identifier: GPL-2.0-only */

/* Every allocation is done by a process in the client's control group. A worker is asked one thing at a time and is believed
 * nothing. It ends in one of three ways: its socket is closed (it was idle), it is killed (its job is of no use, or it
 * misbehaved), or it dies. Whatever the way, a job that was given to it is only over when its pidfd has reported the exit
 * and its socket has been drained: until then the memory may still be the job's. */

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "buffer.h"
#include "fd-util.h"
#include "log.h"
#include "memory-cgroup.h"
#include "spawner-link.h"
#include "worker-pool.h"

#define WORKER_IDLE_USEC (1 * USEC_PER_SEC)

/* How soon a spawner whose queue was full, or that is being reaped, is asked again. */
#define SPAWN_RETRY_USEC (20 * USEC_PER_MSEC)

typedef struct Worker Worker;

struct WorkerJob {
        WorkerJob *next;
        Worker *worker;
        WorkerRequest request;
        int device_fd;
        bool killed;
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
        uint64_t oom_kills; /* of the control group, when it was sent */
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

static void worker_next(Worker *worker);
static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

static WorkerJob *job_free(WorkerJob *job) {
        if (!job)
                return NULL;

        safe_close(job->device_fd);
        free(job);
        return NULL;
}
DEFINE_CLEANUP(WorkerJob, job_free);

/* Ends the process's life without waiting: sockets closed, sources gone. */
static void worker_reset(Worker *worker) {
        worker->socket_source = sd_event_source_disable_unref(worker->socket_source);
        worker->pidfd_source = sd_event_source_disable_unref(worker->pidfd_source);
        worker->timer_source = sd_event_source_disable_unref(worker->timer_source);
        worker->socket_fd = safe_close(worker->socket_fd);
        worker->worker_end_fd = safe_close(worker->worker_end_fd);
        worker->pidfd = safe_close(worker->pidfd);
        worker->state = WORKER_WANTED;
        worker->busy = false;
}

static Worker *worker_free(Worker *worker) {
        if (!worker)
                return NULL;

        if (worker->pool) {
                for (Worker **p = &worker->pool->workers; *p; p = &(*p)->next)
                        if (*p == worker) {
                                *p = worker->next;
                                worker->pool->n_workers--;
                                break;
                        }
        }

        while (worker->jobs) {
                WorkerJob *job = worker->jobs;

                worker->jobs = job->next;
                job_free(job);
        }

        worker_reset(worker);
        sd_event_source_disable_unref(worker->defer_source);
        safe_close(worker->cgroup_fd);
        free(worker);
        return NULL;
}
DEFINE_CLEANUP(Worker, worker_free);

/* Takes the job out of its worker and reports. The worker may be gone when this returns. */
static void job_finish(WorkerJob *job, WorkerResult *result) {
        _cleanup_(job_freep) WorkerJob *owned = job;

        for (WorkerJob **p = &job->worker->jobs; *p; p = &(*p)->next)
                if (*p == job) {
                        *p = job->next;
                        break;
                }

        job->on_done(result, job->userdata);
}

static void jobs_finish_all(Worker *worker, WorkerOutcome outcome) {
        while (worker->jobs)
                job_finish(worker->jobs, &(WorkerResult) { .outcome = outcome });
}

static void worker_kill(Worker *worker) {
        worker->state = WORKER_DYING;
        if (worker->pidfd >= 0 && pidfd_send_signal(worker->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
                (void) log_warning_errno(errno, "Cannot kill a worker: %m");
}

/* Looks at what a worker sent as the answer to its job. Returns the outcome; fills in the buffers, whose fds are the array's. */
static WorkerOutcome check_reply(const WorkerRequest *request, const WorkerReply *reply, const int *fds, size_t n_fds,
                                 WorkerBuffer *buffers) {
        if (reply->id != request->id)
                return WORKER_MISBEHAVED;
        if (reply->error != 0)
                return reply->error > 0 && n_fds == 0 ? WORKER_ERROR : WORKER_MISBEHAVED;
        if (reply->n_buffers != request->n_buffers || n_fds != request->n_buffers)
                return WORKER_MISBEHAVED;

        for (size_t i = 0; i < n_fds; i++) {
                buffers[i].fd = fds[i];
                if (buffer_check(fds[i], request->size, &buffers[i].inode) < 0)
                        return WORKER_MISBEHAVED;

                for (size_t j = 0; j < i; j++)
                        if (buffers[j].inode == buffers[i].inode)
                                return WORKER_MISBEHAVED;
        }

        return WORKER_ALLOCATED;
}

/* Receives one message. Returns true if it was the answer to the worker's job, which is then over. */
static bool worker_receive(Worker *worker) {
        WorkerBuffer buffers[WORKER_BUFFERS_MAX];
        int fds[WORKER_BUFFERS_MAX];
        size_t n_fds = 0;
        WorkerReply reply;

        int r = receive_message(worker->socket_fd, &reply, sizeof(reply), fds, ELEMENTSOF(fds), &n_fds, MSG_DONTWAIT);
        if (r == -EAGAIN)
                return false;
        if (r <= 0 || !worker->busy) {
                if (r > 0)
                        close_many(fds, n_fds);
                if (r > 0 || r == -EBADMSG)
                        log_warning("A worker sent what nobody asked for.");
                worker_kill(worker); /* at the end of file it is dying anyway */
                return false;
        }

        WorkerJob *job = worker->jobs;
        WorkerResult result = { .outcome = check_reply(&job->request, &reply, fds, n_fds, buffers), .error = reply.error };

        if (result.outcome == WORKER_MISBEHAVED) {
                log_warning("A worker sent something else than it was asked for.");
                close_many(fds, n_fds);
                worker_kill(worker);
        } else if (job->killed) {
                result.outcome = WORKER_KILLED;
                close_many(fds, n_fds);
        } else if (result.outcome == WORKER_ALLOCATED) {
                result.buffers = buffers;
                result.n_buffers = n_fds;
        }

        worker->busy = false;
        job_finish(job, &result);

        for (size_t i = 0; i < result.n_buffers; i++)
                safe_close(buffers[i].fd); /* those that were not taken */

        return true;
}

static int on_worker_socket(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        Worker *worker = userdata;

        (void) worker_receive(worker);

        if (worker->state == WORKER_DYING) /* its pidfd does the rest */
                worker->socket_source = sd_event_source_disable_unref(worker->socket_source);
        else
                worker_next(worker);
        return 0;
}

static bool worker_was_oom_killed(Worker *worker) {
        uint64_t kills;

        return memory_cgroup_oom_kills(worker->cgroup_fd, &kills) >= 0 && kills > worker->oom_kills;
}

static int on_worker_exit(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        Worker *worker = userdata;

        /* What it had sent before it died is still there. */
        while (worker->busy && worker_receive(worker))
                ;

        if (worker->busy) {
                bool oom = !worker->jobs->killed && worker_was_oom_killed(worker);

                job_finish(worker->jobs, &(WorkerResult) { .outcome = oom ? WORKER_OOM_KILLED : WORKER_KILLED });
        }

        worker_reset(worker);
        worker_next(worker);
        return 0;
}

static int worker_set_timer(Worker *worker, uint64_t usec) {
        worker->timer_source = sd_event_source_disable_unref(worker->timer_source);

        return sd_event_add_time_relative(worker->pool->event, &worker->timer_source, CLOCK_MONOTONIC, usec, 0, on_timer, worker);
}

/* Asks the spawner for a process. */
static void worker_spawn(Worker *worker) {
        int r = 0;

        if (worker->socket_fd < 0) {
                int fds[2];

                if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                        r = -errno;
                else {
                        worker->socket_fd = fds[0];
                        worker->worker_end_fd = fds[1];
                }
        }

        worker->id = ++worker->pool->last_id; /* a late reply for an earlier try must not be taken for this one's */

        if (r >= 0)
                r = spawner_link_request(worker->pool->spawner, worker->id, worker->cgroup_fd, worker->worker_end_fd);
        if (r == -EAGAIN)
                r = worker_set_timer(worker, SPAWN_RETRY_USEC);
        else if (r >= 0) {
                worker->worker_end_fd = safe_close(worker->worker_end_fd);
                worker->state = WORKER_SPAWNING;
        }

        if (r < 0) {
                (void) log_error_errno(r, "Cannot ask the spawner for a worker: %m");
                worker_reset(worker);
                jobs_finish_all(worker, WORKER_NO_PROCESS);
                worker_free(worker);
        }
}

static int worker_send(Worker *worker) {
        WorkerJob *job = worker->jobs;

        worker->oom_kills = UINT64_MAX;
        (void) memory_cgroup_oom_kills(worker->cgroup_fd, &worker->oom_kills);

        int r = send_message(worker->socket_fd, &job->request, sizeof(job->request), &job->device_fd, 1, MSG_DONTWAIT);
        if (r < 0)
                return r;

        job->device_fd = safe_close(job->device_fd);
        worker->busy = true;
        return 0;
}

/* Does what is due: frees a worker that is not needed, starts one that is, gives it its next job. */
static void worker_next(Worker *worker) {
        switch (worker->state) {

        case WORKER_WANTED:
                if (worker->jobs)
                        worker_spawn(worker);
                else
                        worker_free(worker);
                break;

        case WORKER_RUNNING:
                if (worker->busy)
                        break;

                if (!worker->jobs) {
                        if (!worker->timer_source && worker_set_timer(worker, WORKER_IDLE_USEC) < 0)
                                worker_free(worker);
                        break;
                }

                worker->timer_source = sd_event_source_disable_unref(worker->timer_source);
                if (worker_send(worker) < 0)
                        worker_kill(worker); /* it has died; another will have the job */
                break;

        case WORKER_SPAWNING:
        case WORKER_DYING:
                break;
        }
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Worker *worker = userdata;

        worker->timer_source = sd_event_source_disable_unref(worker->timer_source);
        if (worker->state == WORKER_RUNNING && !worker->jobs)
                worker_free(worker); /* the end of its socket ends it */
        else
                worker_next(worker);
        return 0;
}

static WorkerOutcome outcome_of_clone(int error) {
        switch (error) {
        case EBUSY:      /* it has controllers for its children */
        case EOPNOTSUPP: /* it is in an invalid domain */
        case ENODEV:     /* it is gone */
        case ENOENT:
        case EACCES:
        case EPERM:
                return WORKER_NO_CGROUP;
        default: /* EAGAIN: pids.max */
                return WORKER_NO_PROCESS;
        }
}

static int worker_started(Worker *worker, int pidfd) {
        int r;

        worker->pidfd = pidfd;
        worker->state = WORKER_RUNNING;

        r = sd_event_add_io(worker->pool->event, &worker->pidfd_source, worker->pidfd, EPOLLIN, on_worker_exit, worker);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(worker->pidfd_source, "worker-exit");

        r = sd_event_add_io(worker->pool->event, &worker->socket_source, worker->socket_fd, EPOLLIN, on_worker_socket, worker);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(worker->socket_source, "worker");
        return 0;
}

static void on_spawner_reply(uint64_t id, int error, int pidfd, void *userdata) {
        WorkerPool *pool = userdata;
        Worker *worker;

        for (worker = pool->workers; worker; worker = worker->next)
                if (worker->id == id && worker->state == WORKER_SPAWNING)
                        break;

        if (!worker) { /* its client has gone meanwhile; so has its socket, and so will it */
                safe_close(pidfd);
                return;
        }

        if (error == 0)
                error = -worker_started(worker, pidfd);

        if (error > 0) {
                WorkerOutcome outcome = outcome_of_clone(error);

                (void) log_debug_errno(error, "Cannot start a worker: %m");
                worker_reset(worker);
                jobs_finish_all(worker, outcome);
        }

        worker_next(worker);
}

/* Workers that have a process die with the spawner and say so themselves. */
static void on_spawner_lost(void *userdata) {
        WorkerPool *pool = userdata;

        for (Worker *worker = pool->workers, *next; worker; worker = next) {
                next = worker->next;

                if (worker->state == WORKER_SPAWNING) {
                        worker_reset(worker);
                        jobs_finish_all(worker, WORKER_NO_PROCESS);
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
        worker->next = pool->workers;
        pool->workers = worker;
        pool->n_workers++;
        *ret = TAKE_PTR(worker);
        return 0;
}

static int on_deferred(sd_event_source *source _unused_, void *userdata) {
        Worker *worker = userdata;

        /* Jobs that were killed while they waited. The one in hand, if there is one, ends with the worker. */
        for (WorkerJob *job = worker->jobs, *next; job; job = next) {
                next = job->next;
                if (job->killed && !(worker->busy && job == worker->jobs))
                        job_finish(job, &(WorkerResult) { .outcome = WORKER_KILLED });
        }

        worker_next(worker);
        return 0;
}

static int worker_defer(Worker *worker) {
        if (worker->defer_source)
                return sd_event_source_set_enabled(worker->defer_source, SD_EVENT_ONESHOT);

        return sd_event_add_defer(worker->pool->event, &worker->defer_source, on_deferred, worker);
}

int worker_pool_submit(WorkerPool *pool, const WorkerJobParameters *parameters, worker_done_t on_done, void *userdata,
                       WorkerJob **ret) {
        _cleanup_(job_freep) WorkerJob *job = malloc(sizeof(WorkerJob));
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

        WorkerJob **end = &worker->jobs;
        while (*end)
                end = &(*end)->next;

        job->worker = worker;
        *ret = *end = TAKE_PTR(job);
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
                if (!worker->jobs)
                        worker_free(worker);
        }
}

unsigned worker_pool_n_workers(const WorkerPool *pool) {
        return pool->n_workers;
}
