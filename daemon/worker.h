/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

/* What every worker needs to know, found out once by the spawner before the first clone. */
typedef struct WorkerContext {
        uid_t uid; /* what workers run as */
        gid_t gid;
        pid_t parent;              /* the spawner */
        struct sock_fprog filter;  /* seccomp(2) allow-list */
        char *title;               /* argv[0], over which a worker writes its own, as far as there is room */
} WorkerContext;

/* Builds the seccomp filter and looks up the user. title: the process's argv[0]. Returns 0, or -errno. */
int worker_context_init(WorkerContext *context, char *title);

/* Becomes a worker: gives up every privilege, then serves requests from the socket until its end. Returns the exit status.
 * Called in a child of the spawner that has no thread but its own. */
int worker_run(const WorkerContext *context, int socket_fd);
