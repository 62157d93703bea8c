/* SPDX-License-Identifier: GPL-2.0-only */

/* Starts workers as the spawner does, and beside them bare copies of this process, which do nothing but answer: a line
 * 'KIND NANOSECONDS' each, from before clone3(2) to the first answer ("worker", "bare", "again", which is another
 * "bare"), and for one more question to a process that is there ("hop", and "echo" of a bare one). */

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "util/fd-util.h"
#include "worker/worker-protocol.h"
#include "worker/worker.h"

static void die(const char *what) {
        perror(what);
        exit(EXIT_FAILURE);
}

static uint64_t now_nsec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * UINT64_C(1000000000) + ts.tv_nsec;
}

/* What is asked: nothing that a heap would have to do. The device goes along, as it does with a request. */
static void ask(int fd, int device_fd) {
        WorkerRequest request = { .id = 1, .size = 4096, .n_buffers = 0 };
        WorkerReply reply;

        if (send_message(fd, &request, sizeof(request), &device_fd, 1, 0) < 0 ||
                        receive_message(fd, &reply, sizeof(reply), NULL, 0, NULL, 0) <= 0 || reply.error != EINVAL)
                die("ask");
}

static int answer(int fd) {
        for (;;) {
                WorkerRequest request;
                int device_fd;
                size_t n_fds;

                if (receive_message(fd, &request, sizeof(request), &device_fd, 1, &n_fds, 0) <= 0)
                        return EXIT_SUCCESS;
                safe_close(device_fd);

                WorkerReply reply = { .id = request.id, .error = EINVAL };
                if (send_message(fd, &reply, sizeof(reply), NULL, 0, 0) < 0)
                        return EXIT_FAILURE;
        }
}

static void measure(const WorkerContext *context, int cgroup_fd, int device_fd, const char *kind, const char *warm) {
        int pidfd = -EBADF, fds[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                die("socketpair");

        struct clone_args args = {
                .flags = CLONE_INTO_CGROUP | CLONE_PIDFD,
                .pidfd = (uint64_t) (uintptr_t) &pidfd,
                .exit_signal = SIGCHLD,
                .cgroup = cgroup_fd,
        };

        uint64_t begun = now_nsec();
        pid_t pid = syscall(SYS_clone3, &args, sizeof(args));
        if (pid < 0)
                die("clone3");
        if (pid == 0) {
                if (dup3(fds[1], STDIN_FILENO, O_CLOEXEC) < 0 || close_range(STDIN_FILENO + 1, ~0U, 0) < 0)
                        _exit(EXIT_FAILURE);
                _exit(context ? worker_run(context, STDIN_FILENO) : answer(STDIN_FILENO));
        }
        safe_close(fds[1]);
        ask(fds[0], device_fd);
        (void) printf("%s %lu\n", kind, (unsigned long) (now_nsec() - begun));

        for (int i = 0; warm && i < 5; i++) {
                begun = now_nsec();
                ask(fds[0], device_fd);
                (void) printf("%s %lu\n", warm, (unsigned long) (now_nsec() - begun));
        }

        safe_close(fds[0]);
        if (waitid(P_PIDFD, pidfd, &(siginfo_t) {}, WEXITED) < 0)
                die("waitid");
        safe_close(pidfd);
        (void) fflush(stdout);
}

int main(int argc, char *argv[]) {
        WorkerContext context;

        if (argc != 4)
                return EXIT_FAILURE;

        int cgroup_fd = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int device_fd = open(argv[2], O_RDWR | O_CLOEXEC);
        int r = worker_context_init(&context, argv[0]);
        if (cgroup_fd < 0 || device_fd < 0 || r < 0)
                die("set up");

        for (int i = atoi(argv[3]); i > 0; i--) {
                measure(&context, cgroup_fd, device_fd, "worker", "hop");
                measure(NULL, cgroup_fd, device_fd, "bare", "echo");
                measure(NULL, cgroup_fd, device_fd, "again", NULL);
        }
        return EXIT_SUCCESS;
}
