/* SPDX-License-Identifier: GPL-2.0-only */

/* A worker is asked one thing at a time and is believed nothing. Its process ends in one of two ways: it is killed (it was
 * idle, its job is of no use, or it misbehaved), or it dies; should the daemon die, at the end of its socket. Whatever the
 * way, a job that was given to it is only over when its pidfd has reported the exit and its socket has been drained: until
 * then the memory may still be the job's. */

#include <signal.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "buffer.h"
#include "fd-util.h"
#include "list.h"
#include "log.h"
#include "memory-cgroup.h"
#include "worker-handle.h"

#define WORKER_IDLE_USEC (1 * USEC_PER_SEC)

/* How soon a spawner whose queue was full, or that is being reaped, is asked again. */
#define SPAWN_RETRY_USEC (20 * USEC_PER_MSEC)

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata);

WorkerJob *worker_job_free(WorkerJob *job) {
        if (!job)
                return NULL;

        safe_close(job->device_fd);
        free(job);
        return NULL;
}

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
        worker->proven = false;
}

Worker *worker_free(Worker *worker) {
        if (!worker)
                return NULL;

        if (worker->pool && LIST_REMOVE(worker->pool->workers, worker))
                worker->pool->n_workers--;

        while (worker->jobs)
                worker_job_free(LIST_TAKE_FIRST(worker->jobs));

        /* The end of its socket would do, but not where it is frozen. */
        worker_kill(worker);
        worker_reset(worker);
        sd_event_source_disable_unref(worker->defer_source);
        safe_close(worker->cgroup_fd);
        free(worker);
        return NULL;
}

/* Takes the job out of its worker and reports. The worker may be gone when this returns. */
static void job_finish(WorkerJob *job, WorkerResult *result) {
        _cleanup_(worker_job_freep) WorkerJob *owned = job;

        LIST_REMOVE(job->worker->jobs, job);
        job->on_done(result, job->userdata);
}

static void jobs_finish_all(Worker *worker, WorkerOutcome outcome) {
        while (worker->jobs)
                job_finish(worker->jobs, &(WorkerResult) { .outcome = outcome });
}

void worker_not_started(Worker *worker, WorkerOutcome outcome) {
        worker_reset(worker);
        jobs_finish_all(worker, outcome);
}

void worker_kill(Worker *worker) {
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
                return reply->error < 0 && reply->error >= -ERRNO_MAX && n_fds == 0 ? WORKER_ERROR : WORKER_MISBEHAVED;
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
        WorkerBuffer buffers[BUFFERS_MAX];
        int fds[BUFFERS_MAX];
        size_t n_fds = 0;
        WorkerReply reply;

        int r = receive_message(worker->socket_fd, &reply, sizeof(reply), fds, ELEMENTSOF(fds), &n_fds, MSG_DONTWAIT);
        if (r == -EAGAIN)
                return false;
        if (r == -EMFILE && worker->busy && !worker->jobs->killed) {
                /* Nothing is wrong with the worker. */
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

        WorkerJob *job = worker->jobs;
        WorkerResult result = { .outcome = check_reply(&job->request, &reply, fds, n_fds, buffers), .error = reply.error };

        if (result.outcome == WORKER_MISBEHAVED || job->killed) {
                if (result.outcome == WORKER_MISBEHAVED)
                        log_warning("A worker sent something else than it was asked for.");
                close_many(fds, n_fds);
                worker_kill(worker); /* the memory may be its own until it has exited */
                return false;
        }

        if (result.outcome == WORKER_ALLOCATED) {
                result.buffers = buffers;
                result.n_buffers = n_fds;
        }

        worker->busy = false;
        worker->proven = true;
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

/* What is counted from now on, a later count tells from what was before. */
static void worker_note_oom_kills(Worker *worker) {
        worker->oom_kills = UINT64_MAX;
        (void) memory_cgroup_oom_kills(worker->cgroup_fd, &worker->oom_kills);
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

        worker_note_oom_kills(worker);
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
                worker_not_started(worker, WORKER_NO_PROCESS);
                worker_free(worker);
        }
}

static int worker_send(Worker *worker) {
        WorkerJob *job = worker->jobs;

        if (worker->proven) /* one that is new may have been killed already */
                worker_note_oom_kills(worker);

        int r = send_message(worker->socket_fd, &job->request, sizeof(job->request), &job->device_fd, 1, MSG_DONTWAIT);
        if (r < 0)
                return r;

        job->device_fd = safe_close(job->device_fd);
        worker->busy = true;
        return 0;
}

void worker_next(Worker *worker) {
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
                        /* One whose client has gone while it was started is of no use any more. */
                        if (!worker->client)
                                worker_free(worker);
                        else if (!worker->timer_source && worker_set_timer(worker, WORKER_IDLE_USEC) < 0)
                                worker_free(worker);
                        break;
                }

                worker->timer_source = sd_event_source_disable_unref(worker->timer_source);
                if (worker_send(worker) < 0) {
                        /* It has died. Another will have the job, but where they die at once there is no end to that. */
                        worker->busy = worker->jobs->lost_once;
                        worker->jobs->lost_once = true;
                        worker_kill(worker);
                }
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
                worker_free(worker);
        else
                worker_next(worker);
        return 0;
}

int worker_started(Worker *worker, int pidfd) {
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

int worker_defer(Worker *worker) {
        if (worker->defer_source)
                return sd_event_source_set_enabled(worker->defer_source, SD_EVENT_ONESHOT);

        return sd_event_add_defer(worker->pool->event, &worker->defer_source, on_deferred, worker);
}
