/* SPDX-License-Identifier: GPL-2.0-only */

/* Tests what a worker reports of its jobs, and when. The other end of its socket is a real process, a child of the test
 * that does what the test wants; a memfd stands for a dma-buf, and a directory for the control group. */

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "unit-loop.h"
#include "util/fd-util.h"
#include "worker/buffer.h"
#include "worker/worker-handle.h"

#define SIZE 8192U

/* What a process does with a request. */
typedef enum Conduct {
        CONDUCT_HONEST,
        CONDUCT_ANSWER_AND_EXIT,
        CONDUCT_TWICE, /* the answer, that is */
        CONDUCT_ERROR, /* of the kernel's: ENOMEM */
        CONDUCT_EXIT,  /* without an answer */
        CONDUCT_CLOSE, /* its socket, and lives on */
        CONDUCT_HANG,
        CONDUCT_KILLED_BY_OOM, /* as memory.events.local says */
        CONDUCT_KILLED,
        CONDUCT_KILLED_AT_THE_SECOND, /* job; honest before */
        /* What breaks the protocol. */
        CONDUCT_TOO_SHORT,
        CONDUCT_TOO_LONG,
        CONDUCT_WRONG_ID,
        CONDUCT_WRONG_COUNT,
        CONDUCT_ONE_MISSING,
        CONDUCT_ONE_TWICE,
        CONDUCT_WRONG_SIZE,
        CONDUCT_NO_BUFFER,
        CONDUCT_ERROR_WITH_BUFFERS,
        CONDUCT_ERROR_ABOVE_0,
        CONDUCT_ERROR_BEYOND_ERRNO,
        _CONDUCTS,
} Conduct;

typedef struct Job {
        WorkerJob *job; /* NULL when it was reported, or never submitted */
        unsigned n_reports;
        WorkerOutcome outcome;
        int error;
        size_t n_buffers;
        int taken_fd; /* the first buffer's */
        bool process_had_exited;
} Job;

static struct {
        sd_event *event;
        char *cgroup;
        int cgroup_fd;
        int device_fd;
        WorkerKeeper keeper;
        Worker *worker;
        bool gone;
        Conduct conduct;
        unsigned n_spawns;
        int spawn_results[4]; /* of the keeper's spawn(), one after the other: 0 or -errno */
        int spawn_error;      /* the answer: 0 or -errno */
        bool answers;         /* at once; else the test does */
        bool dead_at_once;    /* the process has exited before it is announced */
        int pidfd;            /* of the last process; ours, as is the rest */
        uint64_t id;
        Job jobs[3];
        unsigned n_open; /* descriptors before the test */
} fixture;

/* Stands in for buffer.c: there is no dma-buf here. */
int buffer_check(int fd, uint64_t size, uint64_t *ret_inode) {
        struct stat st;

        if (fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &st) < 0 || (uint64_t) st.st_size != size)
                return -EBADMSG;
        *ret_inode = st.st_ino;
        return 0;
}

static void write_oom_kills(unsigned n) {
        file_print(fixture.cgroup, "memory.events.local", "low 0\noom 9\noom_kill %u\n", n);
}

/* ---- the process ---- */

static int make_buffer(uint64_t size) {
        int fd = memfd_create("unit-buffer", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (fd < 0 || ftruncate(fd, size) < 0)
                _exit(EXIT_FAILURE);
        return fd;
}

static void process_answer(int socket_fd, const WorkerRequest *request, Conduct conduct) {
        struct {
                WorkerReply reply;
                char surplus;
        } message = { .reply = { .id = request->id, .n_buffers = request->n_buffers } };
        size_t size = sizeof(WorkerReply), n_fds = request->n_buffers;
        int fds[8];

        for (size_t i = 0; i < n_fds; i++)
                fds[i] = make_buffer(request->size);

        switch (conduct) {
        case CONDUCT_ERROR:
                message.reply.error = -ENOMEM;
                n_fds = 0;
                break;
        case CONDUCT_TOO_SHORT:
                size--;
                break;
        case CONDUCT_TOO_LONG:
                size++;
                break;
        case CONDUCT_WRONG_ID:
                message.reply.id++;
                break;
        case CONDUCT_WRONG_COUNT:
                message.reply.n_buffers++;
                break;
        case CONDUCT_ONE_MISSING:
                n_fds--;
                break;
        case CONDUCT_ONE_TWICE:
                fds[1] = fds[0];
                break;
        case CONDUCT_WRONG_SIZE:
                fds[1] = make_buffer(request->size + 1);
                break;
        case CONDUCT_NO_BUFFER:
                fds[1] = socket_fd;
                break;
        case CONDUCT_ERROR_WITH_BUFFERS:
                message.reply.error = -ENOMEM;
                break;
        case CONDUCT_ERROR_ABOVE_0:
                message.reply.error = ENOMEM;
                n_fds = 0;
                break;
        case CONDUCT_ERROR_BEYOND_ERRNO:
                message.reply.error = INT32_MIN;
                n_fds = 0;
                break;
        default:
                break;
        }

        (void) send_message(socket_fd, &message, size, fds, n_fds, 0);
}

static _Noreturn void process_run(int socket_fd, Conduct conduct) {
        WorkerRequest request;
        int device_fd;
        size_t n_fds;

        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (receive_message(socket_fd, &request, sizeof(request), &device_fd, 1, &n_fds, 0) > 0) {
                if (n_fds != 1 || request.n_buffers > 7 || !streq(request.label, "a label") ||
                                request.flags != WORKER_READ_ONLY)
                        _exit(EXIT_FAILURE);
                safe_close(device_fd);

                switch (conduct) {
                case CONDUCT_EXIT:
                        _exit(EXIT_SUCCESS);
                case CONDUCT_CLOSE:
                        safe_close(socket_fd);
                        (void) pause();
                        break;
                case CONDUCT_HANG:
                        (void) pause();
                        break;
                case CONDUCT_KILLED_BY_OOM:
                        write_oom_kills(6);
                        (void) raise(SIGKILL);
                        break;
                case CONDUCT_KILLED_AT_THE_SECOND:
                        process_answer(socket_fd, &request, conduct);
                        conduct = CONDUCT_KILLED;
                        break;
                case CONDUCT_KILLED:
                        (void) raise(SIGKILL);
                        break;
                case CONDUCT_HONEST:
                        process_answer(socket_fd, &request, conduct);
                        break;
                case CONDUCT_TWICE:
                        process_answer(socket_fd, &request, conduct);
                        process_answer(socket_fd, &request, conduct);
                        break;
                case CONDUCT_ANSWER_AND_EXIT:
                        process_answer(socket_fd, &request, conduct);
                        _exit(EXIT_SUCCESS);
                default: /* would go on if it were let */
                        process_answer(socket_fd, &request, conduct);
                        (void) pause();
                }
        }
        _exit(EXIT_SUCCESS);
}

static bool process_has_exited(void) {
        return fixture.pidfd >= 0 && poll(&(struct pollfd) { .fd = fixture.pidfd, .events = POLLIN }, 1, 0) == 1;
}

static void process_await_exit(void) {
        assert_int_equal(poll(&(struct pollfd) { .fd = fixture.pidfd, .events = POLLIN },
                                         1,
                                         LOOP_DEADLINE_USEC / USEC_PER_MSEC),
                        1);
}

/* ---- the keeper ---- */

static void keeper_answer(void) {
        worker_spawned(fixture.worker,
                        fixture.spawn_error,
                        fixture.spawn_error == 0 ? fcntl(fixture.pidfd, F_DUPFD_CLOEXEC, 3) : -EBADF);
}

static int on_answer(sd_event_source *source _unused_, void *userdata _unused_) {
        if (fixture.dead_at_once)
                process_await_exit();
        keeper_answer();
        return 0;
}

static int on_spawn(int cgroup_fd _unused_, int worker_fd, uint64_t *ret_id, void *userdata) {
        assert_ptr_equal(userdata, &fixture);

        int r = fixture.spawn_results[MIN(fixture.n_spawns, (unsigned) ELEMENTSOF(fixture.spawn_results) - 1)];
        fixture.n_spawns++;
        if (r < 0)
                return r;

        *ret_id = ++fixture.id;
        if (fixture.spawn_error == 0) {
                pid_t pid = fork();

                assert_true(pid >= 0);
                if (pid == 0) {
                        /* Of the test's descriptors it has its socket and the log. */
                        if (dup2(worker_fd, 3) < 0 || close_range(4, ~0U, 0) < 0 || fixture.dead_at_once)
                                _exit(EXIT_SUCCESS);
                        process_run(3, fixture.conduct);
                }
                safe_close(fixture.pidfd);
                fixture.pidfd = pidfd_open(pid, 0);
                assert_true(fixture.pidfd >= 0);
        }
        if (fixture.answers)
                assert_true(sd_event_add_defer(fixture.event, NULL, on_answer, NULL) >= 0);
        return 0;
}

static void on_gone(Worker *worker, void *userdata) {
        assert_ptr_equal(userdata, &fixture);
        assert_ptr_equal(worker, fixture.worker);
        assert_false(fixture.gone);
        fixture.gone = true;
}

/* ---- jobs ---- */

static void on_done(WorkerResult *result, void *userdata) {
        Job *job = userdata;

        job->job = NULL;
        job->n_reports++;
        job->outcome = result->outcome;
        job->error = result->error;
        job->n_buffers = result->n_buffers;
        job->process_had_exited = process_has_exited();
        if (result->n_buffers > 0)
                job->taken_fd = TAKE_FD(result->buffers[0].fd);
}

static const WorkerJobParameters *parameters(void) {
        static WorkerJobParameters p;

        p = (WorkerJobParameters) {
                .client = &fixture,
                .cgroup_fd = fixture.cgroup_fd,
                .cgroup_id = 17,
                .device_fd = fixture.device_fd,
                .size = SIZE,
                .n_buffers = 3,
                .flags = WORKER_READ_ONLY,
                .label = "a label",
        };
        return &p;
}

/* As the pool does it: another worker, where there is none any more. */
static void submit(Job *job) {
        if (fixture.gone) {
                assert_int_equal(worker_new(&fixture.keeper, parameters(), &fixture.worker), 0);
                fixture.gone = false;
        }
        assert_int_equal(worker_submit(fixture.worker, parameters(), on_done, job, &job->job), 0);
        assert_non_null(job->job);
        assert_int_equal(job->n_reports, 0);
}

static void run(Job *job) {
        submit(job);
        loop_until(fixture.event, job->n_reports > 0);
}

static void assert_job(const Job *job, WorkerOutcome outcome) {
        assert_int_equal(job->n_reports, 1);
        assert_int_equal(job->outcome, outcome);
        assert_int_equal(job->n_buffers, outcome == WORKER_ALLOCATED ? 3 : 0);
}

static int setup(void **state) {
        memset(&fixture, 0, sizeof(fixture));
        fixture.n_open = n_open_fds();
        fixture.pidfd = -EBADF;
        fixture.answers = true;
        for (size_t i = 0; i < ELEMENTSOF(fixture.jobs); i++)
                fixture.jobs[i].taken_fd = -EBADF;

        fixture.cgroup = directory_new();
        write_oom_kills(5); /* before the worker's time */
        fixture.cgroup_fd = open(fixture.cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fixture.device_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_true(fixture.cgroup_fd >= 0 && fixture.device_fd >= 0);

        assert_int_equal(sd_event_new(&fixture.event), 0);
        fixture.keeper = (WorkerKeeper) {
                .event = fixture.event, .spawn = on_spawn, .on_gone = on_gone, .userdata = &fixture
        };
        assert_int_equal(worker_new(&fixture.keeper, parameters(), &fixture.worker), 0);
        *state = fixture.jobs;
        return 0;
}

/* Whatever has happened, no descriptor is left, and no process. */
static int teardown(void **state _unused_) {
        if (!fixture.gone)
                worker_free(fixture.worker);
        for (size_t i = 0; i < ELEMENTSOF(fixture.jobs); i++)
                safe_close(fixture.jobs[i].taken_fd);
        if (fixture.pidfd >= 0)
                process_await_exit();
        while (waitpid(-1, NULL, 0) > 0)
                ;
        safe_close(fixture.pidfd);
        safe_close(fixture.cgroup_fd);
        safe_close(fixture.device_fd);
        sd_event_unref(fixture.event);
        directory_remove(fixture.cgroup);
        assert_int_equal(n_open_fds(), fixture.n_open);
        return 0;
}

/* ---- the tests ---- */

static void test_allocated(void **state) {
        Job *jobs = *state;
        struct stat st;

        submit(&jobs[0]);
        assert_int_equal(fixture.n_spawns, 0); /* nothing happens within the call */
        submit(&jobs[1]);
        loop_until(fixture.event, jobs[1].n_reports > 0);

        assert_job(&jobs[0], WORKER_ALLOCATED);
        assert_job(&jobs[1], WORKER_ALLOCATED);
        assert_int_equal(fixture.n_spawns, 1);
        assert_int_equal(fstat(jobs[0].taken_fd, &st), 0);
        assert_int_equal(st.st_size, SIZE);
        assert_false(fixture.gone);
}

static void test_idle_worker_ends(void **state) {
        Job *jobs = *state;

        run(&jobs[0]);
        uint64_t done = now_usec();
        loop_until(fixture.event, fixture.gone);
        assert_true(now_usec() >= done + USEC_PER_SEC - 50 * USEC_PER_MSEC);
        process_await_exit();
}

static void test_worker_of_a_client_that_has_gone(void **state) {
        Job *jobs = *state;

        assert_true(worker_serves(fixture.worker, &fixture, 17));
        assert_false(worker_serves(fixture.worker, &fixture, 18));
        assert_false(worker_serves(fixture.worker, &jobs, 17));
        run(&jobs[0]);
        worker_forget_client(fixture.worker);
        assert_false(fixture.gone); /* not within the call: it may come from a callback of the worker's */
        assert_false(worker_serves(fixture.worker, &fixture, 17));
        loop_settle(fixture.event);
        assert_true(fixture.gone);
        process_await_exit();
}

static void test_error(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_ERROR;
        run(&jobs[0]);
        assert_job(&jobs[0], WORKER_ERROR);
        assert_int_equal(jobs[0].error, -ENOMEM);
}

/* What a process sent before it ended counts, even if its exit is seen first. */
static void test_answer_and_exit(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_ANSWER_AND_EXIT;
        submit(&jobs[0]);
        loop_until(fixture.event, fixture.worker->busy);
        process_await_exit();
        fixture.worker->socket_source = sd_event_source_disable_unref(fixture.worker->socket_source);
        loop_until(fixture.event, jobs[0].n_reports > 0);
        assert_job(&jobs[0], WORKER_ALLOCATED);

        /* Another process does the next job. */
        fixture.conduct = CONDUCT_HONEST;
        run(&jobs[1]);
        assert_job(&jobs[1], WORKER_ALLOCATED);
        assert_int_equal(fixture.n_spawns, 2);
}

static void test_exit_without_answer(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_EXIT;
        run(&jobs[0]);
        assert_job(&jobs[0], WORKER_KILLED);
        assert_true(jobs[0].process_had_exited);
}

/* A process that closes its socket, or breaks the protocol, is killed; its job is over when it has exited. */
static void test_misconduct(void **state) {
        Job *jobs = *state;
        static const Conduct others[] = { CONDUCT_CLOSE };

        for (unsigned i = 0; i < ELEMENTSOF(others) + _CONDUCTS - CONDUCT_TOO_SHORT; i++) {
                fixture.conduct = i < ELEMENTSOF(others) ? others[i] : CONDUCT_TOO_SHORT + i - ELEMENTSOF(others);
                print_message("conduct %d\n", fixture.conduct);
                jobs[0] = (Job) { .taken_fd = -EBADF };
                run(&jobs[0]);
                assert_job(&jobs[0], WORKER_KILLED);
                assert_true(jobs[0].process_had_exited);
        }
}

/* A process that says something when it has nothing in hand is killed, and the next job gets another. */
static void test_unasked(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_TWICE;
        run(&jobs[0]);
        assert_job(&jobs[0], WORKER_ALLOCATED);
        loop_until(fixture.event, process_has_exited());

        fixture.conduct = CONDUCT_HONEST;
        run(&jobs[1]);
        assert_job(&jobs[1], WORKER_ALLOCATED);
        assert_int_equal(fixture.n_spawns, 2);
}

/* A job that was sent, and is of no use any more, costs the process its
 * life. It is over when the process has exited. */
static void test_kill_at_deadline(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_HANG;
        submit(&jobs[0]);
        submit(&jobs[1]);
        loop_until(fixture.event, fixture.worker->busy);
        fixture.conduct = CONDUCT_HONEST;

        worker_job_kill(jobs[0].job);
        assert_int_equal(jobs[0].n_reports, 0);
        loop_until(fixture.event, jobs[0].n_reports > 0);
        assert_job(&jobs[0], WORKER_KILLED);
        assert_true(jobs[0].process_had_exited);

        /* The job behind it was not begun, and gets a process of its own. */
        loop_until(fixture.event, jobs[1].n_reports > 0);
        assert_job(&jobs[1], WORKER_ALLOCATED);
        assert_int_equal(fixture.n_spawns, 2);
}

/* An answer to a job that was killed meanwhile is not taken: whoever asked was told that it failed. */
static void test_answer_to_a_killed_job(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_ANSWER_AND_EXIT;
        submit(&jobs[0]);
        loop_until(fixture.event, fixture.worker->busy);
        process_await_exit();
        worker_job_kill(jobs[0].job);
        loop_until(fixture.event, jobs[0].n_reports > 0);
        assert_job(&jobs[0], WORKER_KILLED);
}

/* A job that was not begun ends without a process, and the one before it goes on. */
static void test_kill_before_it_begins(void **state) {
        Job *jobs = *state;

        submit(&jobs[0]);
        worker_job_kill(jobs[0].job);
        assert_int_equal(jobs[0].n_reports, 0);
        loop_settle(fixture.event);
        assert_job(&jobs[0], WORKER_KILLED);
        assert_int_equal(fixture.n_spawns, 0);
        assert_true(fixture.gone);
}

static void test_kill_behind_another(void **state) {
        Job *jobs = *state;

        submit(&jobs[0]);
        submit(&jobs[1]);
        submit(&jobs[2]);
        worker_job_kill(jobs[1].job);
        loop_until(fixture.event, jobs[2].n_reports > 0);
        assert_job(&jobs[0], WORKER_ALLOCATED);
        assert_job(&jobs[1], WORKER_KILLED);
        assert_job(&jobs[2], WORKER_ALLOCATED);
        assert_int_equal(fixture.n_spawns, 1);
}

static void test_oom(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_KILLED_BY_OOM;
        run(&jobs[0]);
        assert_job(&jobs[0], WORKER_OOM_KILLED);
}

static void test_killed_without_oom(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_KILLED;
        run(&jobs[0]);
        assert_job(&jobs[0], WORKER_KILLED);
}

/* The OOM killer's other victims, while the worker was idle, are not the worker. */
static void test_oom_of_others(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_KILLED_AT_THE_SECOND;
        run(&jobs[0]);
        assert_job(&jobs[0], WORKER_ALLOCATED);
        write_oom_kills(8);
        run(&jobs[1]);
        assert_job(&jobs[1], WORKER_KILLED);
        assert_int_equal(fixture.n_spawns, 1);
}

/* Nor is it the OOM killer when we have killed it ourselves. */
static void test_oom_and_killed(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_HANG;
        submit(&jobs[0]);
        loop_until(fixture.event, fixture.worker->busy);
        write_oom_kills(6);
        worker_job_kill(jobs[0].job);
        loop_until(fixture.event, jobs[0].n_reports > 0);
        assert_job(&jobs[0], WORKER_KILLED);
}

/* A process that dies before it is sent the job costs another, but not a third. */
static void test_dead_before_the_job(void **state) {
        Job *jobs = *state;

        fixture.dead_at_once = true;
        run(&jobs[0]);
        assert_job(&jobs[0], WORKER_KILLED);
        assert_int_equal(fixture.n_spawns, 2);
}

static void test_spawn_errors(void **state) {
        Job *jobs = *state;
        static const struct {
                int error;
                WorkerOutcome outcome;
        } rows[] = {
                { -EAGAIN, WORKER_NO_PROCESS },
                { -ENOMEM, WORKER_NO_PROCESS },
                { -EMFILE, WORKER_NO_PROCESS },
                { -EBUSY, WORKER_NO_CGROUP },
                { -ENODEV, WORKER_NO_CGROUP },
                { -EOPNOTSUPP, WORKER_NO_CGROUP },
                { -ENOENT, WORKER_NO_CGROUP },
                { -EACCES, WORKER_NO_CGROUP },
                { -EPERM, WORKER_NO_CGROUP },
        };

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                print_message("error %d\n", rows[i].error);
                fixture.spawn_error = rows[i].error;
                jobs[0] = (Job) { .taken_fd = -EBADF };
                run(&jobs[0]);
                assert_job(&jobs[0], rows[i].outcome);
                assert_true(fixture.gone);
        }
}

/* A spawner that is busy is asked again; one that cannot be asked is not. */
static void test_spawn_again(void **state) {
        Job *jobs = *state;

        fixture.spawn_results[0] = fixture.spawn_results[1] = -EAGAIN;
        run(&jobs[0]);
        assert_job(&jobs[0], WORKER_ALLOCATED);
        assert_int_equal(fixture.n_spawns, 3);
}

static void test_spawn_cannot_be_asked(void **state) {
        Job *jobs = *state;

        fixture.spawn_results[0] = -EPIPE;
        submit(&jobs[0]);
        submit(&jobs[1]);
        loop_until(fixture.event, fixture.gone);
        assert_job(&jobs[0], WORKER_NO_PROCESS);
        assert_job(&jobs[1], WORKER_NO_PROCESS);
        assert_int_equal(fixture.n_spawns, 1);
}

/* The spawner ends before it answers: its answer will not come. */
static void test_spawner_lost_before_the_answer(void **state) {
        Job *jobs = *state;

        fixture.answers = false;
        submit(&jobs[0]);
        loop_until(fixture.event, fixture.n_spawns == 1);
        assert_true(worker_awaits(fixture.worker, fixture.id));
        assert_false(worker_awaits(fixture.worker, fixture.id + 1));
        worker_spawner_lost(fixture.worker);
        assert_job(&jobs[0], WORKER_NO_PROCESS);
        assert_true(fixture.gone);
}

static void test_spawner_lost_at_work(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_HANG;
        submit(&jobs[0]);
        loop_until(fixture.event, fixture.worker->busy);
        assert_false(worker_awaits(fixture.worker, fixture.id));
        worker_spawner_lost(fixture.worker);
        assert_int_equal(jobs[0].n_reports, 0);
        loop_until(fixture.event, jobs[0].n_reports > 0);
        assert_job(&jobs[0], WORKER_KILLED);
        assert_true(jobs[0].process_had_exited);
}

/* Freed at work: nobody is called, and the process ends. */
static void test_free_at_work(void **state) {
        Job *jobs = *state;

        fixture.conduct = CONDUCT_HANG;
        submit(&jobs[0]);
        submit(&jobs[1]);
        loop_until(fixture.event, fixture.worker->busy);
        worker_free(fixture.worker);
        assert_true(fixture.gone);
        loop_settle(fixture.event);
        assert_int_equal(jobs[0].n_reports + jobs[1].n_reports, 0);
        process_await_exit();
}

/* What daemon, spawner and workers say to each other has no padding and no version: all are of one build. */
static void test_message_sizes(void **state _unused_) {
        assert_int_equal(sizeof(SpawnRequest), 8);
        assert_int_equal(sizeof(SpawnReply), 8 + 4 + 4);
        assert_int_equal(sizeof(WorkerRequest), 8 + 8 + 4 + 4 + BUFFER_LABEL_MAX + 1);
        assert_int_equal(offsetof(WorkerRequest, label), 24);
        assert_int_equal(sizeof(WorkerReply), 8 + 4 + 4);
        assert_int_equal(offsetof(WorkerReply, n_buffers), 12);
        assert_int_equal(BUFFERS_MAX, 253);
        assert_int_equal(BUFFER_LABEL_MAX, 31);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(allocated),
                TEST(idle_worker_ends),
                TEST(worker_of_a_client_that_has_gone),
                TEST(error),
                TEST(answer_and_exit),
                TEST(exit_without_answer),
                TEST(misconduct),
                TEST(unasked),
                TEST(kill_at_deadline),
                TEST(answer_to_a_killed_job),
                TEST(kill_before_it_begins),
                TEST(kill_behind_another),
                TEST(oom),
                TEST(killed_without_oom),
                TEST(oom_of_others),
                TEST(oom_and_killed),
                TEST(dead_before_the_job),
                TEST(spawn_errors),
                TEST(spawn_again),
                TEST(spawn_cannot_be_asked),
                TEST(spawner_lost_before_the_answer),
                TEST(spawner_lost_at_work),
                TEST(free_at_work),
                cmocka_unit_test(test_message_sizes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
