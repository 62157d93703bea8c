/* SPDX-License-Identifier: MIT */
/* DmaHeapConnection: its lock, its links to the daemon, its calls, and the epoll fd that a program's event loop
 * watches. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-varlink.h>

#include "call.h"
#include "dmaheap.h"

struct DmaHeapConnection {
        pid_t pid;     /* of the process that made it; never changes */
        char *address; /* owned; never changes */

        uint64_t timeout_usec; /* atomic */

        /* busy is the lock of all members below it. mutex protects busy; idle is signalled when busy becomes false. */
        pthread_mutex_t mutex;
        pthread_cond_t idle;
        bool busy;

        sd_varlink *link; /* for calls; NULL until one is made, and after a disconnect */
        CallList calls;   /* begun and not answered: the head was sent, the others wait until it is answered */

        sd_varlink *subscription_link; /* of its own: a stream beside Allocate calls could take their fds */
        Call *subscription;            /* NULL if there is none: its handler gets each list of heaps */

        CallList done; /* answered: their handlers run in dmaheap_connection_process() */

        int epoll_fd; /* -EBADF until connection_ensure_epoll(), then the same until the connection is freed */
};

/* Takes the lock, waiting for it as long as a call may take. *ret_deadline is when a call made now must be over
 * (CLOCK_MONOTONIC, microseconds). Returns 0; -ETIMEDOUT; -ECHILD in a child of fork(). */
int connection_lock(DmaHeapConnection *c, uint64_t *ret_deadline);
void connection_unlock(DmaHeapConnection *c);

/* The functions below are called with the lock held. */

/* Makes sure that *link, one of the connection's two, is connected. wait and deadline are link_connect()'s; so is what
 * it returns. On failure *link may be NULL afterwards. */
int connection_ensure_link(
                DmaHeapConnection *c, sd_varlink **link, bool wait, uint64_t deadline, DmaHeapError **ret_error);

/* Makes the epoll fd, if there is none, and lets it watch the links there are. Returns 0 or a negative errno. */
int connection_ensure_epoll(DmaHeapConnection *c);

/* Lets the epoll fd, if there is one, watch a link for the events it waits for now. Accepts NULL. Returns 0 or a
 * negative errno. */
int connection_watch_link(DmaHeapConnection *c, sd_varlink *link);
