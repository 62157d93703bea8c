/* SPDX-License-Identifier: GPL-2.0-only */

/* Gives one worker one job at a time, and checks its answers. The process of a worker ends because it was killed (it
 * was idle, its job was of no use any more, or it broke the protocol), because it died, or at the end of its socket
 * when the daemon has died. The invariant: a job that was sent to a process is only reported as lost when the pidfd has
 * reported the exit and the socket has been read to its end. Until then the process may still hold the job's memory. */

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "limits/memory-cgroup.h"
#include "util/fd-util.h"
#include "util/list.h"
#include "util/log.h"
#include "worker/worker-handle.h"
#include "worker/worker-reply.h"

#define WORKER_IDLE_USEC (1 * USEC_PER_SEC)

/* How soon a spawner whose queue was full, or that is being reaped, is asked again. */
#define SPAWN_RETRY_USEC (20 * USEC_PER_MSEC)

struct WorkerJob {
        WorkerJob *next;
        Worker *worker;
        WorkerRequest request;
        int device_fd; /* until the process has it */
        bool killed;
        bool lost_once; /* a process died before it could be sent the job */
        worker_done_t on_done;
        void *userdata;
};

static void worker_next(Worker *worker);

/* ---- jobs ---- */

static WorkerJob *worker_job_free(WorkerJob *job) {
        if (!job)
                return NULL;

        safe_close(job->device_fd);
        free(job);
        return NULL;
}
DEFINE_CLEANUP(WorkerJob, worker_job_free);

static int job_new(Worker *worker, const WorkerJobParameters *parameters, worker_done_t on_done, void *userdata,
                WorkerJob **ret) {
        _cleanup_(worker_job_freep) WorkerJob *job = malloc(sizeof(WorkerJob));
        if (!job)
                return -ENOMEM;

        *job = (WorkerJob) {
                .worker = worker,
                .request = {
                        .id = ++worker->last_job_id,
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

        *ret = TAKE_PTR(job);
        return 0;
}

/* Takes the job out of its worker and reports it. What the callback
 * does may change the worker, but does not free it. */
static void job_finish(WorkerJob *job, WorkerResult *result) {
        _cleanup_(worker_job_freep) WorkerJob *owned = job;

        LIST_REMOVE(job->worker->jobs, job);
        job->on_done(result, job->userdata);
}

static void jobs_finish_all(Worker *worker, WorkerOutcome outcome) {
        while (worker->jobs)
                job_finish(worker->jobs, &(WorkerResult) { .outcome = outcome });
}

/* ---- the process ---- */

/* Forgets the process without waiting: sockets closed, sources gone. */
static void worker_reset(Worker *worker) {
        worker->socket_source = sd_event_source_disable_unref(worker->socket_source);
        worker->pidfd_source = sd_event_source_disable_unref(worker->pidfd_source);
        worker->timer_source = sd_event_source_disable_unref(worker->timer_source);
        worker->socket_fd = safe_close(worker->socket_fd);
        worker->worker_end_fd = safe_close(worker->worker_end_fd);
        worker->pidfd = safe_close(worker->pidfd);
        worker->state = WORKER_WANTED;
        worker->busy = false;
        worker->proven = false;
}

/* There will be no process: the jobs end. */
static void worker_not_started(Worker *worker, WorkerOutcome outcome) {
        worker_reset(worker);
        jobs_finish_all(worker, outcome);
}

/* Kills the process. The job in hand ends when its exit has been seen. */
static void worker_kill(Worker *worker) {
        worker->state = WORKER_DYING;
        if (worker->pidfd >= 0 && pidfd_send_signal(worker->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
                (void) log_warning_errno(errno, "Cannot kill a worker: %m");
}

/* Reports the job in hand as the process answered it. Descriptors that the callback did not take are closed. */
static void worker_report(Worker *worker, const WorkerReply *reply, WorkerBuffer *buffers, size_t n_buffers) {
        WorkerResult result = { .outcome = WORKER_ALLOCATED, .buffers = buffers, .n_buffers = n_buffers };

        if (reply->error < 0)
                result = (WorkerResult) { .outcome = WORKER_ERROR, .error = reply->error };

        worker->busy = false;
        worker->proven = true;
        job_finish(worker->jobs, &result);

        for (size_t i = 0; i < result.n_buffers; i++)
                safe_close(buffers[i].fd);
}

/* Receives one message. Returns true if it was the answer to the job in hand, which is then over. */
static bool worker_receive(Worker *worker) {
        WorkerBuffer buffers[BUFFERS_MAX];
        int fds[BUFFERS_MAX];
        size_t n_fds = 0;
        WorkerReply reply;

        int r = receive_message(worker->socket_fd, &reply, sizeof(reply), fds, ELEMENTSOF(fds), &n_fds, MSG_DONTWAIT);
        if (r == -EAGAIN)
                return false;
        if (r == -EMFILE && worker->busy && !worker->jobs->killed) {
                /* This process may not have so many descriptors. Nothing is wrong with the worker. */
                worker->busy = false;
                job_finish(worker->jobs, &(WorkerResult) { .outcome = WORKER_ERROR, .error = -EMFILE });
                return true;
        }
        if (r <= 0 || !worker->busy) {
                if (r > 0)
                        close_many(fds, n_fds);
                if (r > 0 || r == -EBADMSG)
                        log_warning("A worker sent what nobody asked for.");
                worker_kill(worker); /* at the end of file it is dying anyway */
                return false;
        }

        bool sound = worker_reply_is_sound(&worker->jobs->request, &reply, fds, n_fds, buffers);
        if (!sound || worker->jobs->killed) {
                if (!sound)
                        log_warning("A worker sent something else than it was asked for.");
                close_many(fds, n_fds);
                worker_kill(worker); /* it may hold more of the memory, so the job is over when it has exited */
                return false;
        }

        worker_report(worker, &reply, buffers, n_fds);
        return true;
}

static int on_worker_socket(
                sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        Worker *worker = userdata;

        (void) worker_receive(worker);

        if (worker->state == WORKER_DYING) /* its pidfd does the rest */
                worker->socket_source = sd_event_source_disable_unref(worker->socket_source);
        else
                worker_next(worker);
        return 0;
}

/* Remembers the cgroup's count of OOM kills, so that an increase can be told to be of this process. */
static void worker_note_oom_kills(Worker *worker) {
        worker->oom_kills = UINT64_MAX;
        (void) memory_cgroup_oom_kills(worker->cgroup_fd, &worker->oom_kills);
}

static bool worker_was_oom_killed(Worker *worker) {
        uint64_t kills;

        return memory_cgroup_oom_kills(worker->cgroup_fd, &kills) >= 0 && kills > worker->oom_kills;
}

static int on_worker_exit(
                sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        Worker *worker = userdata;

        /* What the process sent before it died is still in the socket. */
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

/* ---- what comes next ---- */

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Worker *worker = userdata;

        worker->timer_source = sd_event_source_disable_unref(worker->timer_source);
        if (worker->state == WORKER_RUNNING && !worker->jobs)
                worker_free(worker);
        else
                worker_next(worker);
        return 0;
}

static int worker_set_timer(Worker *worker, uint64_t usec) {
        worker->timer_source = sd_event_source_disable_unref(worker->timer_source);

        return sd_event_add_time_relative(
                        worker->keeper->event, &worker->timer_source, CLOCK_MONOTONIC, usec, 0, on_timer, worker);
}

/* Asks for a process. The worker may be gone when this returns. */
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

        worker_note_oom_kills(worker);

        if (r >= 0)
                r = worker->keeper->spawn(
                                worker->cgroup_fd, worker->worker_end_fd, &worker->spawn_id, worker->keeper->userdata);
        if (r == -EAGAIN)
                r = worker_set_timer(worker, SPAWN_RETRY_USEC);
        else if (r >= 0) {
                worker->worker_end_fd = safe_close(worker->worker_end_fd);
                worker->state = WORKER_SPAWNING;
        }

        if (r < 0) {
                (void) log_error_errno(r, "Cannot ask the spawner for a worker: %m");
                worker_not_started(worker, WORKER_NO_PROCESS);
                worker_free(worker);
        }
}

static int worker_send(Worker *worker) {
        WorkerJob *job = worker->jobs;

        if (worker->proven) /* a new process may have been killed already, which would be forgotten */
                worker_note_oom_kills(worker);

        int r = send_message(worker->socket_fd, &job->request, sizeof(job->request), &job->device_fd, 1, MSG_DONTWAIT);
        if (r < 0)
                return r;

        job->device_fd = safe_close(job->device_fd);
        worker->busy = true;
        return 0;
}

/* What a worker with a process that has nothing in hand does. It may be gone when this returns. */
static void worker_next_job(Worker *worker) {
        if (!worker->jobs) {
                /* Without a client there will be no other job. */
                if (!worker->client || (!worker->timer_source && worker_set_timer(worker, WORKER_IDLE_USEC) < 0))
                        worker_free(worker);
                return;
        }

        worker->timer_source = sd_event_source_disable_unref(worker->timer_source);
        if (worker_send(worker) < 0) {
                /* The process has died. Another one will get the job, but only
                 * once: the next may die at once as well. */
                worker->busy = worker->jobs->lost_once;
                worker->jobs->lost_once = true;
                worker_kill(worker);
        }
}

/* Does what is due. The worker may be gone when this returns. */
static void worker_next(Worker *worker) {
        switch (worker->state) {
        case WORKER_WANTED:
                if (worker->jobs)
                        worker_spawn(worker);
                else
                        worker_free(worker);
                break;
        case WORKER_RUNNING:
                if (!worker->busy)
                        worker_next_job(worker);
                break;
        case WORKER_SPAWNING:
        case WORKER_DYING:
                break;
        }
}

static int on_deferred(sd_event_source *source _unused_, void *userdata) {
        Worker *worker = userdata;

        /* Jobs that were killed before they were sent. A job in hand ends with the process. */
        for (WorkerJob *job = worker->jobs, *next; job; job = next) {
                next = job->next;
                if (job->killed && !(worker->busy && job == worker->jobs))
                        job_finish(job, &(WorkerResult) { .outcome = WORKER_KILLED });
        }

        worker_next(worker);
        return 0;
}

/* Does what is due from the event loop: whoever calls this may be in the middle of a callback of this worker's. */
static int worker_defer(Worker *worker) {
        if (worker->defer_source)
                return sd_event_source_set_enabled(worker->defer_source, SD_EVENT_ONESHOT);

        return sd_event_add_defer(worker->keeper->event, &worker->defer_source, on_deferred, worker);
}

/* ---- for the keeper ---- */

int worker_new(const WorkerKeeper *keeper, const WorkerJobParameters *parameters, Worker **ret) {
        int cgroup_fd = fcntl(parameters->cgroup_fd, F_DUPFD_CLOEXEC, 3);
        if (cgroup_fd < 0)
                return -errno;

        Worker *worker = malloc(sizeof(Worker));
        if (!worker) {
                safe_close(cgroup_fd);
                return -ENOMEM;
        }

        *worker = (Worker) {
                .keeper = keeper,
                .client = parameters->client,
                .cgroup_id = parameters->cgroup_id,
                .cgroup_fd = cgroup_fd,
                .socket_fd = -EBADF,
                .worker_end_fd = -EBADF,
                .pidfd = -EBADF,
        };
        *ret = worker;
        return 0;
}

Worker *worker_free(Worker *worker) {
        if (!worker)
                return NULL;

        worker->keeper->on_gone(worker, worker->keeper->userdata);
        while (worker->jobs)
                worker_job_free(LIST_TAKE_FIRST(worker->jobs));

        /* The end of its socket would end the process, but not while it is frozen. */
        worker_kill(worker);
        worker_reset(worker);
        sd_event_source_disable_unref(worker->defer_source);
        safe_close(worker->cgroup_fd);
        free(worker);
        return NULL;
}

bool worker_serves(const Worker *worker, const void *client, uint64_t cgroup_id) {
        return worker->client == client && worker->cgroup_id == cgroup_id;
}

int worker_submit(Worker *worker, const WorkerJobParameters *parameters, worker_done_t on_done, void *userdata,
                WorkerJob **ret) {
        _cleanup_(worker_job_freep) WorkerJob *job = NULL;

        int r = job_new(worker, parameters, on_done, userdata, &job);
        if (r < 0)
                return r;

        /* Begun from the event loop: a job that fails at once is still reported after this has returned. */
        r = worker_defer(worker);
        if (r < 0)
                return r;

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

void worker_forget_client(Worker *worker) {
        worker->client = NULL; /* another client may get this address soon */

        if (!worker->jobs)
                (void) worker_defer(worker);
}

bool worker_awaits(const Worker *worker, uint64_t spawn_id) {
        return worker->state == WORKER_SPAWNING && worker->spawn_id == spawn_id;
}

static WorkerOutcome outcome_of_clone(int error) {
        switch (error) {
        case -EBUSY:      /* the cgroup has controllers for its children */
        case -EOPNOTSUPP: /* it is in an invalid domain */
        case -ENODEV:     /* it is gone */
        case -ENOENT:
        case -EACCES:
        case -EPERM:
                return WORKER_NO_CGROUP;
        default: /* -EAGAIN: pids.max */
                return WORKER_NO_PROCESS;
        }
}

static int worker_watch_process(Worker *worker) {
        sd_event *event = worker->keeper->event;
        int r;

        r = sd_event_add_io(event, &worker->pidfd_source, worker->pidfd, EPOLLIN, on_worker_exit, worker);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(worker->pidfd_source, "worker-exit");

        r = sd_event_add_io(event, &worker->socket_source, worker->socket_fd, EPOLLIN, on_worker_socket, worker);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(worker->socket_source, "worker");
        return 0;
}

void worker_spawned(Worker *worker, int error, int pidfd) {
        if (error == 0) {
                worker->pidfd = pidfd;
                worker->state = WORKER_RUNNING;
                error = worker_watch_process(worker);
        }
        if (error < 0) {
                (void) log_debug_errno(error, "Cannot start a worker: %m");
                worker_not_started(worker, outcome_of_clone(error));
        }

        worker_next(worker);
}

void worker_spawner_lost(Worker *worker) {
        /* Workers die with the spawner, but not those that were frozen before they could ask the kernel for that. */
        if (worker->state == WORKER_RUNNING)
                worker_kill(worker);
        else if (worker->state == WORKER_SPAWNING) {
                worker_not_started(worker, WORKER_NO_PROCESS);
                worker_next(worker);
        }
}
