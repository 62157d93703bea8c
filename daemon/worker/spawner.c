/* SPDX-License-Identifier: GPL-2.0-only */

/* dmaheapd-spawner puts workers into control groups. A worker is a plain copy of this process. The invariant: the
 * spawner has no other thread, no descriptor but its socket and no memory that a worker should not have. Neither
 * vfork() nor exec() is used, since a child in a frozen cgroup would then hold up its parent. */

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "util/fd-util.h"
#include "util/log.h"
#include "worker/worker-protocol.h"
#include "worker/worker.h"

/* The kernel's OOM killer kills the process with the highest value first:
 * the worker, and not the client that it works for. */
#define OOM_SCORE_ADJ_MAX_TEXT "1000\n"

static int set_oom_score_adj(void) {
        _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, OOM_SCORE_ADJ_MAX_TEXT, strlen(OOM_SCORE_ADJ_MAX_TEXT)) < 0)
                return -errno;
        return 0;
}

static pid_t clone_into_cgroup(int cgroup_fd, int *ret_pidfd) {
        int pidfd = -EBADF;
        struct clone_args args = {
                .flags = CLONE_INTO_CGROUP | CLONE_PIDFD,
                .pidfd = (uint64_t) (uintptr_t) &pidfd,
                .exit_signal = SIGCHLD,
                .cgroup = cgroup_fd,
        };

        pid_t pid = syscall(SYS_clone3, &args, sizeof(args));
        if (pid < 0)
                return -errno;

        *ret_pidfd = pidfd;
        return pid;
}

static int serve(const WorkerContext *context, const SpawnRequest *request, int cgroup_fd, int worker_fd) {
        _cleanup_close_ int pidfd = -EBADF;

        pid_t pid = clone_into_cgroup(cgroup_fd, &pidfd);
        if (pid == 0) {
                /* A worker keeps only its socket, as descriptor 0. */
                if (dup3(worker_fd, STDIN_FILENO, O_CLOEXEC) < 0 || close_range(STDIN_FILENO + 1, ~0U, 0) < 0)
                        _exit(EXIT_FAILURE);

                _exit(worker_run(context, STDIN_FILENO));
        }

        SpawnReply reply = { .id = request->id, .error = pid < 0 ? pid : 0, .pid = pid > 0 ? pid : 0 };
        return send_message(SPAWNER_SOCKET_FD, &reply, sizeof(reply), &pidfd, pid > 0 ? 1 : 0, 0);
}

int main(int argc, char *argv[]) {
        static WorkerContext context; /* static: workers read their copy of it */
        int r;

        log_setup();

        if (argc != 1) {
                log_error("dmaheapd-spawner is started by dmaheapd and takes no arguments.");
                return EXIT_FAILURE;
        }

        /* Workers are reaped by the kernel; the daemon watches them by their pidfds. */
        if (signal(SIGCHLD, SIG_IGN) == SIG_ERR || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
                return log_error_errno(errno, "Cannot set up the spawner: %m") < 0 ? EXIT_FAILURE : EXIT_SUCCESS;

        r = set_oom_score_adj();
        if (r < 0) {
                (void) log_error_errno(r, "Cannot set the spawner's oom_score_adj: %m");
                return EXIT_FAILURE;
        }

        r = worker_context_init(&context, argv[0]);
        if (r < 0) {
                (void) log_error_errno(r, "Cannot prepare for workers (is there a user dmaheapd-worker?): %m");
                return EXIT_FAILURE;
        }

        if (close_range(0, SPAWNER_SOCKET_FD - 1, 0) < 0 || close_range(SPAWNER_SOCKET_FD + 1, ~0U, 0) < 0)
                return EXIT_FAILURE;

        for (;;) {
                SpawnRequest request;
                int fds[2] = { -EBADF, -EBADF };
                size_t n_fds;

                r = receive_message(SPAWNER_SOCKET_FD, &request, sizeof(request), fds, ELEMENTSOF(fds), &n_fds, 0);
                if (r <= 0)
                        return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;

                r = n_fds == ELEMENTSOF(fds) ? serve(&context, &request, fds[0], fds[1]) : -EBADMSG;
                close_many(fds, n_fds);
                if (r < 0)
                        return EXIT_FAILURE;
        }
}
