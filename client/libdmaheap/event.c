/* SPDX-License-Identifier: MIT */
/*
 * Calls in a program's own event loop. dmaheap.h is the contract of this file.
 *
 * The program watches one epoll fd, the same for the connection's life; behind it are the sockets, which come and go.
 *
 * Invariant: only the head of c->calls is on its way, since fds can end up with the wrong message when Allocate calls
 * are pipelined. Each call that call_begin() accepted moves to c->done once, with its answer or error, and its handler
 * runs once. Handlers run without the lock, so that they may call the library.
 */

#include <poll.h>

#include "clock.h"
#include "connection.h"
#include "error.h"
#include "link.h"
#include "request.h"
#include "subscription.h"

static int on_reply(sd_varlink *link, sd_json_variant *parameters, const char *error_name,
                sd_varlink_reply_flags_t flags, void *userdata) {
        DmaHeapConnection *c = userdata;
        Call *call;

        /* link_drop() has removed the userdata: no call waits for an answer of this link. */
        call = c ? call_list_pop(&c->calls) : NULL;
        if (!call)
                return 0;

        call_take_answer(call, link, parameters, error_name, flags);
        call_list_append(&c->done, call);
        return 0;
}

/* Sends the head of the queue. Returns 0 or a negative errno, with an error as in error.h; the queue is unchanged
 * then. */
static int send_first(DmaHeapConnection *c, DmaHeapError **ret_error) {
        Call *call = c->calls.head;
        int r;

        if (usec_left(call->deadline) == 0)
                return error_from_link(-ETIMEDOUT, method_name(call->method), ret_error);

        r = connection_ensure_link(c, &c->link, false, call->deadline, ret_error);
        if (r < 0)
                return r;

        r = sd_varlink_bind_reply(c->link, on_reply);
        if (r >= 0)
                r = link_set_deadline(c->link, call->deadline);
        if (r >= 0)
                r = sd_varlink_invoke(c->link, method_name(call->method), call->parameters);
        if (r < 0)
                r = error_from_link(r, method_name(call->method), ret_error);
        return r < 0 ? r : 0;
}

/* Sends the head of the queue. A call that cannot be sent is done, with the error, and the next one is the head. */
static void send_next(DmaHeapConnection *c) {
        while (c->calls.head) {
                Call *call = c->calls.head;
                int r;

                r = send_first(c, &call->error);
                if (r >= 0)
                        return;

                c->link = link_drop(c->link);
                (void) call_list_pop(&c->calls);
                call->result = r;
                call_list_append(&c->done, call);
        }
}

/* Queues a call, and sends it if it is the only one. On failure the caller still owns the call. */
static int call_begin_locked(DmaHeapConnection *c, Call *call) {
        int r;

        r = connection_ensure_epoll(c);
        if (r < 0)
                return r;

        call_list_append(&c->calls, call);
        if (c->calls.head != call)
                return 0;

        r = send_first(c, NULL);
        if (r >= 0)
                r = connection_watch_link(c, c->link);
        if (r < 0) {
                c->link = link_drop(c->link);
                (void) call_list_pop(&c->calls);
        }
        return r;
}

static int call_begin(DmaHeapConnection *c, Method method, sd_json_variant *parameters, DmaHeapHandler handler,
                void *userdata) {
        Call *call = NULL;
        int r;

        r = call_new(method, parameters, handler, userdata, &call);
        if (r < 0)
                return r;

        r = connection_lock(c, &call->deadline);
        if (r >= 0) {
                r = call_begin_locked(c, call);
                connection_unlock(c);
        }
        if (r < 0)
                (void) call_free(call);
        return r;
}

int dmaheap_allocate_async(
                DmaHeapConnection *c, const DmaHeapRequest *request, DmaHeapHandler handler, void *userdata) {
        CLEANUP(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;
        int r;

        r = request_build(request, &parameters, NULL);
        if (r < 0)
                return r;

        return call_begin(c, METHOD_ALLOCATE, parameters, handler, userdata);
}

int dmaheap_list_heaps_async(DmaHeapConnection *c, DmaHeapHandler handler, void *userdata) {
        return call_begin(c, METHOD_LIST_HEAPS, NULL, handler, userdata);
}

int dmaheap_get_usage_async(DmaHeapConnection *c, DmaHeapHandler handler, void *userdata) {
        return call_begin(c, METHOD_GET_USAGE, NULL, handler, userdata);
}

int dmaheap_connection_get_fd(DmaHeapConnection *c) {
        uint64_t deadline;
        int r;

        r = connection_lock(c, &deadline);
        if (r < 0)
                return r;

        r = connection_ensure_epoll(c);
        if (r >= 0)
                r = c->epoll_fd;
        connection_unlock(c);
        return r;
}

static uint64_t link_timeout(sd_varlink *link) {
        uint64_t t = DMAHEAP_INFINITY;

        if (!link || sd_varlink_get_timeout(link, &t) <= 0)
                return DMAHEAP_INFINITY;
        return t;
}

int dmaheap_connection_get_timeout(DmaHeapConnection *c, uint64_t *ret) {
        uint64_t a, b, deadline;
        int r;

        r = connection_lock(c, &deadline);
        if (r < 0)
                return r;

        a = link_timeout(c->link);
        b = link_timeout(c->subscription_link);
        *ret = c->done.head ? 0 : a < b ? a : b;
        connection_unlock(c);
        return 0;
}

/* Without a call on its way the link is only looked at: its end would keep the epoll fd readable for ever. */
static void process_idle_link(DmaHeapConnection *c) {
        if (c->link && !link_is_alive(c->link))
                c->link = link_drop(c->link);
}

/* Reads what has arrived for the head of the queue. Returns whether that call is done. */
static bool process_first(DmaHeapConnection *c) {
        Call *call = c->calls.head;
        int r;

        do
                r = sd_varlink_process(c->link);
        while (r > 0 && c->calls.head == call);

        if (r < 0 && c->calls.head == call) {
                (void) call_list_pop(&c->calls);
                call->result = error_from_link(r, method_name(call->method), &call->error);
                call_list_append(&c->done, call);
        }
        if (c->calls.head == call)
                return false;

        /* sd-varlink closes a link after a timeout or a disconnect, in further steps. */
        while (r > 0)
                r = sd_varlink_process(c->link);
        if (r < 0 || !link_is_alive(c->link))
                c->link = link_drop(c->link);
        return true;
}

static void process_calls(DmaHeapConnection *c) {
        if (!c->calls.head) {
                process_idle_link(c);
                return;
        }

        while (c->calls.head && c->link && process_first(c))
                send_next(c);
        (void) connection_watch_link(c, c->link);
}

int dmaheap_connection_process(DmaHeapConnection *c) {
        uint64_t deadline;
        Call *call;
        int r, n = 0;

        r = connection_lock(c, &deadline);
        if (r < 0)
                return r;

        process_calls(c);
        connection_process_subscription(c);

        while ((call = call_list_pop(&c->done))) {
                connection_unlock(c);
                call->handler(c, call->result, TAKE_PTR(call->reply), TAKE_PTR(call->error), call->userdata);
                (void) call_free(call);
                n++;
                r = connection_lock(c, &deadline);
                if (r < 0)
                        return n;
        }

        connection_unlock(c);
        return n;
}

int dmaheap_connection_wait(DmaHeapConnection *c, uint64_t timeout_usec) {
        uint64_t until, next = DMAHEAP_INFINITY;
        struct pollfd p = { .events = POLLIN };
        struct timespec ts;
        int r;

        p.fd = dmaheap_connection_get_fd(c);
        if (p.fd < 0)
                return p.fd;
        r = dmaheap_connection_get_timeout(c, &next);
        if (r < 0)
                return r;

        until = usec_add(now_usec(), timeout_usec);
        if (next < until)
                until = next;
        ts = usec_to_timespec(usec_left(until));

        r = ppoll(&p, 1, until == DMAHEAP_INFINITY ? NULL : &ts, NULL);
        if (r < 0)
                return -errno;
        return r > 0 || next <= now_usec();
}
