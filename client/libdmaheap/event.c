/* SPDX-License-Identifier: MIT */
/*
 * Calls in a program's own event loop.
 *
 * The program watches one epoll fd that stays the same for the life of the connection; behind it are the sockets, which come
 * and go. A call that was begun waits in a queue: only its head is on the wire, since fds can end up with the wrong message
 * when Allocate calls are pipelined. A call that was answered moves to the list of done ones, whose handlers run without
 * the lock, so that they may call back into the library.
 */

#include <poll.h>

#include "call.h"

static int on_reply(sd_varlink *link, sd_json_variant *parameters, const char *error_name, sd_varlink_reply_flags_t flags,
                    void *userdata) {
        DmaHeapConnection *c = userdata;
        Call *call;

        /* No userdata: the link is being dropped, nobody waits for this. */
        call = c ? calls_pop(&c->calls) : NULL;
        if (!call)
                return 0;

        call_take_answer(call, link, parameters, error_name, flags);
        calls_append(&c->done, &c->done_tail, call);
        return 0;
}

/* Puts the head of the queue on the wire. */
static int send_first(DmaHeapConnection *c, DmaHeapError **ret_error) {
        uint64_t now = now_usec();
        Call *call = c->calls;
        int r;

        if (call->deadline <= now)
                return error_from_link(-ETIMEDOUT, method_name(call->method), ret_error);

        r = connection_ensure_link(c, &c->link, false, call->deadline, ret_error);
        if (r < 0)
                return r;

        r = sd_varlink_bind_reply(c->link, on_reply);
        if (r >= 0)
                r = sd_varlink_set_relative_timeout(c->link, call->deadline == DMAHEAP_INFINITY ? DMAHEAP_INFINITY :
                                                                                                 call->deadline - now);
        if (r >= 0)
                r = sd_varlink_invoke(c->link, method_name(call->method), call->parameters);
        if (r < 0)
                r = error_from_link(r, method_name(call->method), ret_error);
        return r < 0 ? r : 0;
}

/* After something happened to the queue's head: the next one's turn. */
static void send_next(DmaHeapConnection *c) {
        while (c->calls) {
                Call *call = c->calls;
                int r;

                r = send_first(c, &call->error);
                if (r >= 0)
                        return;

                c->link = connection_drop_link(c->link);
                (void) calls_pop(&c->calls);
                call->result = r;
                calls_append(&c->done, &c->done_tail, call);
        }
}

static int call_begin(DmaHeapConnection *c, Method method, sd_json_variant *parameters, DmaHeapHandler handler,
                      void *userdata) {
        uint64_t deadline;
        Call *call;
        int r;

        if (!handler)
                return -EINVAL;
        call = calloc(1, sizeof(*call));
        if (!call)
                return -ENOMEM;

        r = connection_lock(c, &deadline);
        if (r < 0) {
                free(call);
                return r;
        }

        *call = (Call) {
                .method = method,
                .parameters = sd_json_variant_ref(parameters),
                .handler = handler,
                .userdata = userdata,
                .deadline = deadline,
        };

        r = connection_ensure_epoll(c);
        if (r < 0)
                (void) call_free(call);
        else {
                calls_append(&c->calls, &c->calls_tail, call);
                if (c->calls == call) {
                        r = send_first(c, NULL);
                        if (r >= 0)
                                r = connection_watch_link(c, c->link);
                        if (r < 0) {
                                c->link = connection_drop_link(c->link);
                                (void) call_free(calls_pop(&c->calls));
                        }
                }
        }

        connection_unlock(c);
        return r;
}

int dmaheap_allocate_async(DmaHeapConnection *c, const DmaHeapRequest *request, DmaHeapHandler handler, void *userdata) {
        __attribute__((__cleanup__(sd_json_variant_unrefp))) sd_json_variant *parameters = NULL;
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

/* ---- The loop ------------------------------------------------------------------------------------------------ */

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
        *ret = c->done ? 0 : a < b ? a : b;
        connection_unlock(c);
        return 0;
}

static void process_calls(DmaHeapConnection *c) {
        int r = 0;

        /* A link that waits for nothing is not processed, but its end is noticed: it would keep the epoll fd readable. */
        if (!c->calls) {
                if (c->link && !link_is_alive(c->link))
                        c->link = connection_drop_link(c->link);
                return;
        }

        while (c->calls && c->link) {
                Call *call = c->calls;

                do
                        r = sd_varlink_process(c->link);
                while (r > 0 && c->calls == call);

                if (r < 0 && c->calls == call) {
                        (void) calls_pop(&c->calls);
                        call->result = error_from_link(r, method_name(call->method), &call->error);
                        calls_append(&c->done, &c->done_tail, call);
                }
                if (c->calls == call)
                        break; /* still waiting */

                /* sd-varlink closes a link after a timeout or a disconnect. */
                while (r > 0)
                        r = sd_varlink_process(c->link);
                if (r < 0 || !link_is_alive(c->link))
                        c->link = connection_drop_link(c->link);
                send_next(c);
        }
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

        while ((call = calls_pop(&c->done))) {
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
        uint64_t until, next = DMAHEAP_INFINITY, now = now_usec();
        struct pollfd p = { .events = POLLIN };
        struct timespec ts;
        int r;

        p.fd = dmaheap_connection_get_fd(c);
        if (p.fd < 0)
                return p.fd;
        r = dmaheap_connection_get_timeout(c, &next);
        if (r < 0)
                return r;

        until = usec_add(now, timeout_usec);
        if (next < until)
                until = next;
        if (until != DMAHEAP_INFINITY) {
                uint64_t left = until > now ? until - now : 0;

                ts = (struct timespec) { .tv_sec = (time_t) (left / 1000000), .tv_nsec = (long) (left % 1000000 * 1000) };
        }

        r = ppoll(&p, 1, until == DMAHEAP_INFINITY ? NULL : &ts, NULL);
        if (r < 0)
                return -errno;
        return r > 0 || next <= now_usec();
}
