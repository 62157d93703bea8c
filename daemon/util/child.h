/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "util/macro.h"

/* A function that runs in a child process and leaves its result in a memfd: for work that may block for long, or that
 * would leave memory or descriptors behind. The parent watches the child's pidfd and reads the result once the child
 * has ended. */
typedef struct Child Child;

/* What the child does. result_fd: the memfd, empty, at offset 0. A
 * negative return value means that there is no result. */
typedef int (*child_function_t)(int result_fd, void *userdata);

/* The most descriptors that a child keeps. */
#define CHILD_KEEP_MAX 4U

typedef struct ChildParameters {
        const char *name; /* its comm (prctl(2), PR_SET_NAME), at most 15 bytes; of the memfd, too */
        child_function_t run;
        void *userdata;           /* passed to run */
        const int *keep_fds;      /* what the child keeps, under the same numbers; -EBADF is skipped */
        size_t n_keep_fds;        /* at most CHILD_KEEP_MAX */
        uint64_t result_size_max; /* bytes */
} ChildParameters;

/* Starts the child. The parameters are not needed any more when this returns. Returns 0, or -errno.
 *
 * Descriptors: the child keeps 0 to 2, its result's and keep_fds, and closes all others before it calls run. So a
 * connection that the parent closes does not stay open in the child.
 * Signals: what the parent blocks or ignores, the child blocks or ignores.
 * Death of the parent: the kernel kills the child when the thread that called this dies.
 * Deadline: there is none; call child_kill() when the child has had enough time. */
int child_start(const ChildParameters *parameters, Child **ret);

/* A pidfd that becomes readable when the child has ended, for sd_event_add_io(EPOLLIN). It stays the child's. */
int child_pidfd(const Child *child);

/* Kills the child. Its pidfd becomes readable soon, or when the kernel lets go of the process. */
void child_kill(Child *child);

/* Waits until the child has ended and reaps it; does not block when the pidfd is readable. Frees `child`, whatever is
 * returned.
 *
 * Returns 0 and the memfd with the result, which becomes the caller's and may be empty; -ECANCELED if a signal ended
 * the child; -EIO if run returned a negative value; -EFBIG if the result is larger than result_size_max; -errno. */
int child_finish(Child *child, int *ret_result_fd);

/* Kills the child and forgets it without waiting. It is reaped only if it has ended already: a process that the kernel
 * does not let go of must not hold up the caller. Accepts NULL, returns NULL. */
Child *child_free(Child *child);
DEFINE_CLEANUP(Child, child_free);
