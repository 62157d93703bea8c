/* SPDX-License-Identifier: MIT */
/*
 * The connection object.
 *
 * Invariant: all members below busy are only touched by the thread that set busy, from connection_lock() to
 * connection_unlock(). pid and address never change, timeout_usec is atomic.
 */

#include <stddef.h>
#include <sys/epoll.h>
#include <sys/un.h>

#include "clock.h"
#include "connection.h"
#include "error.h"
#include "link.h"

/* The lock is a flag with a condition, because a condition can wait with a deadline on CLOCK_MONOTONIC. So could
 * pthread_mutex_clocklock(), but not all race detectors know it. */
int connection_lock(DmaHeapConnection *c, uint64_t *ret_deadline) {
        uint64_t deadline;
        struct timespec ts;
        int r = 0;

        if (c->pid != getpid())
                return -ECHILD;

        deadline = usec_add(now_usec(), __atomic_load_n(&c->timeout_usec, __ATOMIC_RELAXED));
        ts = usec_to_timespec(deadline);

        (void) pthread_mutex_lock(&c->mutex);
        while (c->busy && r != ETIMEDOUT)
                r = deadline == DMAHEAP_INFINITY ? pthread_cond_wait(&c->idle, &c->mutex) :
                                                   pthread_cond_timedwait(&c->idle, &c->mutex, &ts);
        if (!c->busy) {
                c->busy = true;
                r = 0;
        }
        (void) pthread_mutex_unlock(&c->mutex);

        if (r != 0)
                return -r;
        *ret_deadline = deadline;
        return 0;
}

void connection_unlock(DmaHeapConnection *c) {
        (void) pthread_mutex_lock(&c->mutex);
        c->busy = false;
        (void) pthread_cond_signal(&c->idle);
        (void) pthread_mutex_unlock(&c->mutex);
}

static int lock_init(DmaHeapConnection *c) {
        pthread_condattr_t attr;
        int r;

        r = pthread_condattr_init(&attr);
        if (r != 0)
                return -r;
        (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        r = pthread_cond_init(&c->idle, &attr);
        (void) pthread_condattr_destroy(&attr);
        if (r != 0)
                return -r;

        r = pthread_mutex_init(&c->mutex, NULL);
        if (r != 0)
                (void) pthread_cond_destroy(&c->idle);
        return -r;
}

static void lock_done(DmaHeapConnection *c) {
        /* In a child of fork() a thread that exists only in the parent may have been waiting on the condition, and
         * pthread_cond_destroy() would wait for it for ever. */
        if (c->pid != getpid())
                return;

        (void) pthread_mutex_destroy(&c->mutex);
        (void) pthread_cond_destroy(&c->idle);
}

int dmaheap_connection_new(const char *address, DmaHeapConnection **ret) {
        DmaHeapConnection *c;
        int r;

        if (!ret)
                return -EINVAL;
        if (!address)
                address = secure_getenv("DMAHEAP_ADDRESS") ?: DMAHEAP_ADDRESS;
        if (!*address)
                return -EINVAL;
        if (strlen(address) >= sizeof(((struct sockaddr_un *) NULL)->sun_path))
                return -ENAMETOOLONG;

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        *c = (DmaHeapConnection) {
                .pid = getpid(),
                .address = strdup(address),
                .timeout_usec = DMAHEAP_TIMEOUT_DEFAULT,
                .epoll_fd = -EBADF,
        };
        r = c->address ? lock_init(c) : -ENOMEM;
        if (r < 0) {
                free(c->address);
                free(c);
                return r;
        }

        *ret = c;
        return 0;
}

DmaHeapConnection *dmaheap_connection_free(DmaHeapConnection *c) {
        if (!c)
                return NULL;

        call_list_done(&c->calls);
        call_list_done(&c->done);
        (void) call_free(c->subscription);
        (void) link_drop(c->link);
        (void) link_drop(c->subscription_link);
        (void) fd_close(c->epoll_fd);
        lock_done(c);
        free(c->address);
        free(c);
        return NULL;
}

int dmaheap_connection_set_timeout(DmaHeapConnection *c, uint64_t timeout_usec) {
        if (timeout_usec == 0)
                return -EINVAL;

        __atomic_store_n(&c->timeout_usec, timeout_usec, __ATOMIC_RELAXED);
        return 0;
}

int dmaheap_connection_connect(DmaHeapConnection *c, DmaHeapError **ret_error) {
        uint64_t deadline;
        int r;

        r = connection_lock(c, &deadline);
        if (r == -ETIMEDOUT)
                return error_from_link(r, "connecting", ret_error);
        if (r < 0)
                return r;

        /* While a call is on its way the link exists, and its reply may have arrived: link_is_alive() would mistake
         * that for the end. */
        if (!c->calls.head)
                r = connection_ensure_link(c, &c->link, true, deadline, ret_error);
        connection_unlock(c);
        return r;
}

int connection_ensure_link(
                DmaHeapConnection *c, sd_varlink **link, bool wait, uint64_t deadline, DmaHeapError **ret_error) {
        /* The daemon may have been restarted since the last call: that is no reason to fail this one. */
        if (*link && link_is_alive(*link))
                return 0;

        *link = link_drop(*link);
        return link_connect(c->address, c, wait, deadline, link, ret_error);
}

int connection_ensure_epoll(DmaHeapConnection *c) {
        if (c->epoll_fd >= 0)
                return 0;

        c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (c->epoll_fd < 0) {
                c->epoll_fd = -EBADF;
                return -errno;
        }
        (void) connection_watch_link(c, c->link);
        (void) connection_watch_link(c, c->subscription_link);
        return 0;
}

int connection_watch_link(DmaHeapConnection *c, sd_varlink *link) {
        struct epoll_event event = {};
        int fd, events;

        if (!link || c->epoll_fd < 0)
                return 0;

        fd = sd_varlink_get_fd(link);
        events = sd_varlink_get_events(link);
        if (fd < 0 || events < 0)
                return 0;

        event.events = (uint32_t) events;
        if (epoll_ctl(c->epoll_fd, EPOLL_CTL_MOD, fd, &event) >= 0)
                return 0;
        if (errno != ENOENT || epoll_ctl(c->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
                return -errno;
        return 0;
}
