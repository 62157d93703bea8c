/* SPDX-License-Identifier: GPL-2.0-only */

/* The daemon's side of the workers, with a spawner and workers that do anything at any time. Whatever they do, each job
 * is reported once, buffers that are reported are those that were asked for, and no descriptor is leaked.
 *
 * The input is a list of steps: a byte each, with its arguments behind it. The functions below stand in for the
 * spawner. A process is an eventfd in the place of its pidfd, and its end of the socket is held here. A memfd stands
 * for a dma-buf. */

#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-event.h>

#include "limits/memory-cgroup.h"
#include "util/fd-util.h"
#include "util/log.h"
#include "worker/buffer.h"
#include "worker/spawner-link.h"
#include "worker/worker-pool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define JOBS_MAX 24U
#define PROCESSES_MAX 24U
#define CLIENTS 3U
#define PAGE 4096U

typedef struct Process {
        uint64_t id;
        int socket_fd; /* of the pool's pair, the worker's end */
        int exit_fd;   /* another descriptor of what the pool has as its pidfd */
        WorkerRequest request;
        bool has_request;
} Process;

typedef struct Job {
        WorkerJob *job; /* NULL once it was reported */
        uint64_t size;
        uint32_t n_buffers;
        const void *client;
        bool leaves; /* its client, when it is done */
} Job;

static struct {
        const uint8_t *data;
        size_t size;
        sd_event *event;
        WorkerPool *pool;
        spawner_reply_t on_reply;
        spawner_lost_t on_lost;
        void *userdata;
        Process processes[PROCESSES_MAX];
        size_t n_processes;
        Job jobs[JOBS_MAX];
        size_t n_jobs;
        char clients[CLIENTS];
} fuzz;

static void check(bool condition) {
        if (!condition)
                abort();
}

static uint8_t next(void) {
        if (fuzz.size == 0)
                return 0;
        fuzz.size--;
        return *fuzz.data++;
}

/* The functions that the pool calls, and that would need a kernel with dma-bufs. */

int log_internal(int level _unused_, int error, const char *format _unused_, ...) {
        return -abs(error);
}

int memory_cgroup_oom_kills(int cgroup_fd _unused_, uint64_t *ret) {
        *ret = next();
        return 0;
}

int buffer_check(int fd, uint64_t size, uint64_t *ret_inode) {
        struct stat st;

        /* Of the descriptors that process_reply() sends only a memfd has seals. */
        if (fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &st) < 0)
                return -errno;
        if ((uint64_t) st.st_size != size)
                return -EBADMSG;
        *ret_inode = st.st_ino;
        return 0;
}

int pidfd_send_signal(int pidfd, int signal, siginfo_t *info, unsigned flags) {
        check(signal == SIGKILL && !info && flags == 0);
        return eventfd_write(pidfd, 1);
}

int spawner_link_new(sd_event *event _unused_, const char *path _unused_, spawner_reply_t on_reply,
                spawner_lost_t on_lost, void *userdata, SpawnerLink **ret) {
        fuzz.on_reply = on_reply;
        fuzz.on_lost = on_lost;
        fuzz.userdata = userdata;
        *ret = NULL;
        return 0;
}

SpawnerLink *spawner_link_free(SpawnerLink *link _unused_) {
        return NULL;
}

int spawner_link_start(SpawnerLink *link _unused_) {
        return 0;
}

int spawner_link_request(SpawnerLink *link _unused_, uint64_t id, int cgroup_fd _unused_, int worker_fd) {
        if (fuzz.n_processes == PROCESSES_MAX)
                return -ENOBUFS;

        fuzz.processes[fuzz.n_processes++] =
                        (Process) { .id = id, .socket_fd = fcntl(worker_fd, F_DUPFD_CLOEXEC, 3), .exit_fd = -EBADF };
        return 0;
}

/* What happens to the pool. */

static void on_done(WorkerResult *result, void *userdata) {
        Job *job = userdata;

        check(job->job != NULL);
        job->job = NULL;

        /* Its client goes in the middle of this callback. */
        if (job->leaves)
                worker_pool_forget_client(fuzz.pool, job->client);

        if (result->outcome != WORKER_ALLOCATED)
                return;

        check(result->n_buffers == job->n_buffers);
        for (size_t i = 0; i < result->n_buffers; i++) {
                uint64_t inode;

                check(buffer_check(result->buffers[i].fd, job->size, &inode) >= 0 && inode == result->buffers[i].inode);
                for (size_t j = 0; j < i; j++)
                        check(result->buffers[j].inode != inode);
        }
        /* Take one; the pool closes the others. */
        (void) close(TAKE_FD(result->buffers[0].fd));
}

static void submit(void) {
        if (fuzz.n_jobs == JOBS_MAX)
                return;

        Job *job = &fuzz.jobs[fuzz.n_jobs];
        uint8_t how = next();

        *job = (Job) {
                .size = PAGE * (1 + (how & 1)),
                .n_buffers = 1 + (how >> 1 & 3),
                .client = &fuzz.clients[how % CLIENTS],
                .leaves = how & 0x40,
        };
        int r = worker_pool_submit(fuzz.pool,
                        &(WorkerJobParameters) {
                                .client = job->client,
                                .cgroup_fd = STDERR_FILENO,
                                .cgroup_id = how >> 4 & 1,
                                .device_fd = STDERR_FILENO,
                                .size = job->size,
                                .n_buffers = job->n_buffers,
                                .label = how & 0x80 ? "label" : NULL,
                        },
                        on_done,
                        job,
                        &job->job);
        check(r >= 0);
        fuzz.n_jobs++;
}

static int make_fd(uint8_t kind, const WorkerRequest *request) {
        if (kind % 4 == 3)
                return open("/dev/null", O_RDWR | O_CLOEXEC);

        int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        check(fd >= 0 && ftruncate(fd, kind % 4 == 2 ? PAGE * 3 : request->size) >= 0);
        return fd;
}

/* Sends an honest reply, but for the changes that the input wants. */
static void process_reply(Process *process) {
        union {
                WorkerReply reply;
                uint8_t bytes[sizeof(WorkerReply) + 8];
        } message = {};
        int fds[8];
        size_t size = sizeof(WorkerReply);

        uint8_t how = next();
        uint32_t n_fds = process->request.n_buffers;
        message.reply = (WorkerReply) { .id = process->request.id, .n_buffers = process->request.n_buffers };

        if (how & 1)
                message.bytes[next() % sizeof(message)] = next();
        if (how & 2)
                size = next() % sizeof(message);
        if (how & 4)
                n_fds = next() % (ELEMENTSOF(fds) + 1);
        if (how & 8)
                message.reply.error = (int8_t) next();

        n_fds = MIN(n_fds, (uint32_t) ELEMENTSOF(fds));
        for (size_t i = 0; i < n_fds; i++)
                if (how & 16 && i > 0)
                        fds[i] = fcntl(fds[0], F_DUPFD_CLOEXEC, 3);
                else
                        fds[i] = make_fd(how & 32 ? next() : 0, &process->request);

        (void) send_message(process->socket_fd, &message, size, fds, n_fds, MSG_DONTWAIT);
        close_many(fds, n_fds);
}

static void process_read(Process *process) {
        int device_fd = -EBADF;
        size_t n_fds;

        int r = receive_message(process->socket_fd,
                        &process->request,
                        sizeof(process->request),
                        &device_fd,
                        1,
                        &n_fds,
                        MSG_DONTWAIT);
        if (r > 0) {
                check(n_fds == 1);
                safe_close(device_fd);
                process->has_request = true;
        } else
                check(r == 0 || r == -EAGAIN || r == -ECONNRESET);
}

static void process_start(Process *process, int error) {
        int pidfd = -EBADF;

        if (process->exit_fd >= 0 || process->id == 0)
                return;

        if (error == 0) {
                pidfd = eventfd(0, EFD_CLOEXEC);
                process->exit_fd = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
                check(process->exit_fd >= 0);
        }

        uint64_t id = process->id;
        process->id = error == 0 ? id : 0;
        fuzz.on_reply(id, error, pidfd, fuzz.userdata);
}

static void process_step(Process *process, uint8_t step) {
        if (step <= 2 && process->socket_fd < 0)
                return;

        switch (step) {
        case 0:
                process_read(process);
                break;
        case 1:
                process_read(process);
                process_reply(process);
                break;
        case 2:
                process->socket_fd = safe_close(process->socket_fd);
                break;
        case 3:
                if (process->exit_fd >= 0)
                        (void) eventfd_write(process->exit_fd, 1);
                break;
        case 4:
                process_start(process, 0);
                break;
        case 5:
                process_start(process, -1 - next() % 40);
                break;
        }
}

static void run_loop(void) {
        /* Without a deadline, so timers do not fire: it ends when nothing is left to do. */
        for (unsigned i = 0; i < 1000; i++)
                if (sd_event_run(fuzz.event, 0) <= 0)
                        return;
        abort();
}

static bool step(void) {
        uint8_t what = next();

        switch (what >> 5) {
        case 0:
        case 1:
                submit();
                break;
        case 2:
        case 3:
        case 4:
                if (fuzz.n_processes > 0)
                        process_step(&fuzz.processes[fuzz.n_processes - 1 - (what >> 3 & 3) % fuzz.n_processes],
                                        what & 7);
                break;
        case 5:
                if (fuzz.n_jobs > 0) {
                        Job *job = &fuzz.jobs[what % fuzz.n_jobs];
                        if (job->job)
                                worker_job_kill(job->job);
                }
                break;
        case 6:
                if (what & 16)
                        fuzz.on_lost(fuzz.userdata);
                else if (what & 8)
                        fuzz.on_reply(next(), -EPERM, -EBADF, fuzz.userdata);
                else {
                        /* As the server does it: when a client goes, its requests are killed first. */
                        for (size_t i = 0; i < fuzz.n_jobs; i++)
                                if (fuzz.jobs[i].job)
                                        worker_job_kill(fuzz.jobs[i].job);
                        worker_pool_forget_client(fuzz.pool, &fuzz.clients[what % CLIENTS]);
                }
                break;
        case 7:
                run_loop();
                break;
        }

        return fuzz.size > 0;
}

static unsigned n_open(void) {
        unsigned n = 0;

        for (int fd = 0; fd < 400; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        if (!fuzz.event) {
                sd_event_source *timer;

                /* The loop keeps its descriptor for timers once it has one. */
                check(sd_event_new(&fuzz.event) >= 0);
                check(sd_event_add_time_relative(fuzz.event, &timer, CLOCK_MONOTONIC, 1, 0, NULL, NULL) >= 0);
                sd_event_source_disable_unref(timer);
        }

        unsigned before = n_open();

        fuzz.data = data;
        fuzz.size = MIN(size, (size_t) 512);
        fuzz.n_processes = fuzz.n_jobs = 0;
        check(worker_pool_new(fuzz.event, "spawner", &fuzz.pool) >= 0);

        while (step())
                ;

        /* No process starts any more, and those that run end: every job must be reported. */
        for (unsigned i = 0; i < 100; i++) {
                bool left = false;

                run_loop();
                for (size_t j = 0; j < fuzz.n_processes; j++) {
                        process_step(&fuzz.processes[j], 3);
                        process_start(&fuzz.processes[j], -EAGAIN);
                }
                run_loop();
                for (size_t j = 0; j < fuzz.n_jobs; j++)
                        left |= fuzz.jobs[j].job != NULL;
                if (!left)
                        break;
        }
        for (size_t j = 0; j < fuzz.n_jobs; j++)
                check(!fuzz.jobs[j].job);

        fuzz.pool = worker_pool_free(fuzz.pool);
        for (size_t j = 0; j < fuzz.n_processes; j++) {
                safe_close(fuzz.processes[j].socket_fd);
                safe_close(fuzz.processes[j].exit_fd);
        }
        run_loop();
        check(n_open() == before);
        return 0;
}
