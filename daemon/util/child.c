/* SPDX-License-Identifier: GPL-2.0-only */

/* Runs functions in child processes. The invariant: a child has no descriptor but those that it was promised, and does
 * not outlive its parent. Nothing is executed, so the parent must have one thread only. */

#include <signal.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "util/child.h"
#include "util/fd-util.h"

struct Child {
        pid_t pid;
        int pidfd;
        int result_fd;
        uint64_t result_size_max;
};

/* Closes everything from descriptor 3 on but those in `keep`. */
static int close_others(const int *keep, size_t n_keep) {
        for (int from = 3;;) {
                int next = -EBADF;

                for (size_t i = 0; i < n_keep; i++)
                        if (keep[i] >= from && (next < 0 || keep[i] < next))
                                next = keep[i];

                if (next < 0)
                        return close_range(from, ~0U, 0) < 0 ? -errno : 0;
                if (next > from && close_range(from, next - 1, 0) < 0)
                        return -errno;
                from = next + 1;
        }
}

static _Noreturn void run_child(const ChildParameters *parameters, pid_t parent, int result_fd) {
        int keep[CHILD_KEEP_MAX + 1] = { result_fd };

        if (parameters->n_keep_fds > 0)
                memcpy(&keep[1], parameters->keep_fds, parameters->n_keep_fds * sizeof(int));

        /* A parent that died before the first call is noticed by the second. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent ||
                        close_others(keep, parameters->n_keep_fds + 1) < 0)
                _exit(EXIT_FAILURE);
        (void) prctl(PR_SET_NAME, parameters->name);

        _exit(parameters->run(result_fd, parameters->userdata) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Reaps a child. Returns 0 if it exited with success, -EIO if not, -ECANCELED if a signal ended it. */
static int wait_for(pid_t pid) {
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;

        if (!WIFEXITED(status))
                return -ECANCELED;
        return WEXITSTATUS(status) == EXIT_SUCCESS ? 0 : -EIO;
}

int child_start(const ChildParameters *parameters, Child **ret) {
        if (parameters->n_keep_fds > CHILD_KEEP_MAX)
                return -EINVAL;

        _cleanup_free_ Child *child = malloc(sizeof(Child));
        if (!child)
                return -ENOMEM;

        _cleanup_close_ int result_fd = memfd_create(parameters->name, MFD_CLOEXEC);
        if (result_fd < 0)
                return -errno;

        pid_t parent = getpid(), pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                run_child(parameters, parent, result_fd);

        _cleanup_close_ int pidfd = pidfd_open(pid, 0);
        if (pidfd < 0) {
                int r = -errno;

                (void) kill(pid, SIGKILL);
                (void) wait_for(pid);
                return r;
        }

        *child = (Child) {
                .pid = pid,
                .pidfd = TAKE_FD(pidfd),
                .result_fd = TAKE_FD(result_fd),
                .result_size_max = parameters->result_size_max,
        };
        *ret = TAKE_PTR(child);
        return 0;
}

int child_pidfd(const Child *child) {
        return child->pidfd;
}

void child_kill(Child *child) {
        (void) pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0);
}

static void release(Child *child) {
        safe_close(child->pidfd);
        safe_close(child->result_fd);
        free(child);
}

int child_finish(Child *child, int *ret_result_fd) {
        struct stat st;

        int r = wait_for(child->pid);
        if (r >= 0 && fstat(child->result_fd, &st) < 0)
                r = -errno;
        if (r >= 0 && (uint64_t) st.st_size > child->result_size_max)
                r = -EFBIG;
        if (r >= 0)
                *ret_result_fd = TAKE_FD(child->result_fd);

        release(child);
        return r < 0 ? r : 0;
}

Child *child_free(Child *child) {
        if (!child)
                return NULL;

        child_kill(child);
        (void) waitpid(child->pid, NULL, WNOHANG);
        release(child);
        return NULL;
}
