/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

/* What every worker needs to know. The spawner finds it out once, before the first clone. */
typedef struct WorkerContext {
        uid_t uid; /* what workers run as */
        gid_t gid;
        pid_t parent;             /* the spawner */
        struct sock_fprog filter; /* seccomp(2) allow-list */
        char *title;              /* argv[0], which a worker overwrites with its own as far as there is room */
} WorkerContext;

/* Builds the seccomp filter and looks up the user. title: the process's argv[0]. Returns 0, -ENOENT without a user
 * dmaheapd-worker, or -errno. */
int worker_context_init(WorkerContext *context, char *title);

/* Becomes a worker: gives up every privilege, then serves requests from the socket until its end. Call it in a child of
 * the spawner that has one thread. Returns the exit status: EXIT_SUCCESS at the end of the socket. */
int worker_run(const WorkerContext *context, int socket_fd);
