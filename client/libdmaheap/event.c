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
#include <sys/epoll.h>

#include "internal.h"

struct Call {
        Call *next;
        Method method;
        sd_json_variant *parameters;
        DmaHeapHandler handler;
        void *userdata;
        uint64_t deadline;
        bool is_subscription;

        int result;
        DmaHeapReply *reply;
        DmaHeapError *error;
};

static Call *call_free(Call *call) {
        if (!call)
                return NULL;

        (void) sd_json_variant_unref(call->parameters);
        (void) dmaheap_reply_free(call->reply);
        (void) dmaheap_error_free(call->error);
        free(call);
        return NULL;
}

static Call *calls_free(Call *head) {
        while (head) {
                Call *next = head->next;

                (void) call_free(head);
                head = next;
        }
        return NULL;
}

static void calls_append(Call **head, Call **tail, Call *call) {
        call->next = NULL;
        if (*head)
                (*tail)->next = call;
        else
                *head = call;
        *tail = call;
}

static Call *calls_pop(Call **head) {
        Call *call = *head;

        if (call)
                *head = call->next;
        return call;
}

void connection_forget_calls(DmaHeapConnection *c) {
        c->calls = calls_free(c->calls);
        c->done = calls_free(c->done);
        c->subscription = call_free(c->subscription);
}

/* ---- Answers ------------------------------------------------------------------------------------------------- */

static int local_error_to_errno(const char *name) {
        if (streq_ptr(name, SD_VARLINK_ERROR_TIMEOUT))
                return -ETIMEDOUT;
        if (streq_ptr(name, SD_VARLINK_ERROR_PROTOCOL))
                return -EPROTO;
        return -ECONNRESET;
}

static void take_answer(Call *call, sd_varlink *link, sd_json_variant *parameters, const char *error_name,
                        sd_varlink_reply_flags_t flags) {
        if (error_name && (flags & SD_VARLINK_REPLY_LOCAL))
                call->result = error_from_link(local_error_to_errno(error_name), method_name(call->method), &call->error);
        else
                call->result = link_take_reply(link, call->method, parameters, error_name, &call->reply, &call->error);
}

static int on_reply(sd_varlink *link, sd_json_variant *parameters, const char *error_name, sd_varlink_reply_flags_t flags,
                    void *userdata) {
        DmaHeapConnection *c = userdata;
        Call *call;

        /* No userdata: the link is being dropped, nobody waits for this. */
        call = c ? calls_pop(&c->calls) : NULL;
        if (!call)
                return 0;

        take_answer(call, link, parameters, error_name, flags);
        calls_append(&c->done, &c->done_tail, call);
        return 0;
}

static Call *subscription_event(const Call *subscription) {
        Call *event;

        event = calloc(1, sizeof(*event));
        if (event) {
                *event = *subscription;
                event->next = NULL;
        }
        return event;
}

static void subscription_end(DmaHeapConnection *c, int error) {
        Call *call = TAKE_PTR(c->subscription);

        if (!call)
                return;
        if (call->result >= 0)
                call->result = error_from_link(error, "the subscription", &call->error);
        calls_append(&c->done, &c->done_tail, call);
}

static int on_heaps(sd_varlink *link, sd_json_variant *parameters, const char *error_name, sd_varlink_reply_flags_t flags,
                    void *userdata) {
        DmaHeapConnection *c = userdata;
        Call *event;

        if (!c || !c->subscription)
                return 0;

        if (error_name) {
                take_answer(c->subscription, link, parameters, error_name, flags);
                subscription_end(c, 0);
                return 0;
        }

        /* The stream may be silent for as long as nothing changes. */
        (void) sd_varlink_set_relative_timeout(link, DMAHEAP_INFINITY);

        event = subscription_event(c->subscription);
        if (!event)
                return -ENOMEM;
        take_answer(event, link, parameters, NULL, flags);
        if (event->result < 0) {
                /* Say why, once, and stop. */
                c->subscription = call_free(c->subscription);
                calls_append(&c->done, &c->done_tail, event);
                return 0;
        }
        calls_append(&c->done, &c->done_tail, event);

        if (!(flags & SD_VARLINK_REPLY_CONTINUES))
                subscription_end(c, -ECONNRESET);
        return 0;
}

/* ---- Calls --------------------------------------------------------------------------------------------------- */

static int watch_link(DmaHeapConnection *c, sd_varlink *link) {
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

                c->link = connection_drop_link(c, c->link);
                (void) calls_pop(&c->calls);
                call->result = r;
                calls_append(&c->done, &c->done_tail, call);
        }
}

static int ensure_epoll(DmaHeapConnection *c) {
        if (c->epoll_fd >= 0)
                return 0;

        c->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (c->epoll_fd < 0) {
                c->epoll_fd = -EBADF;
                return -errno;
        }
        (void) watch_link(c, c->link);
        (void) watch_link(c, c->subscription_link);
        return 0;
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

        r = ensure_epoll(c);
        if (r < 0)
                (void) call_free(call);
        else {
                calls_append(&c->calls, &c->calls_tail, call);
                if (c->calls == call) {
                        r = send_first(c, NULL);
                        if (r >= 0)
                                r = watch_link(c, c->link);
                        if (r < 0) {
                                c->link = connection_drop_link(c, c->link);
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

/* ---- The subscription ---------------------------------------------------------------------------------------- */

static int subscribe_locked(DmaHeapConnection *c, Call *subscription, uint64_t deadline) {
        uint64_t now = now_usec();
        int r;

        r = ensure_epoll(c);
        if (r < 0)
                return r;

        c->subscription_link = connection_drop_link(c, c->subscription_link);
        r = connection_ensure_link(c, &c->subscription_link, false, deadline, NULL);
        if (r < 0)
                return r;

        r = sd_varlink_bind_reply(c->subscription_link, on_heaps);
        if (r >= 0)
                r = sd_varlink_set_relative_timeout(c->subscription_link, deadline == DMAHEAP_INFINITY ? DMAHEAP_INFINITY :
                                                                          deadline > now ? deadline - now : 1);
        if (r >= 0)
                r = sd_varlink_observe(c->subscription_link, method_name(METHOD_LIST_HEAPS), NULL);
        if (r >= 0)
                r = watch_link(c, c->subscription_link);
        if (r < 0) {
                c->subscription_link = connection_drop_link(c, c->subscription_link);
                return r;
        }

        c->subscription = subscription;
        return 0;
}

int dmaheap_subscribe_heaps(DmaHeapConnection *c, DmaHeapHandler handler, void *userdata) {
        Call *subscription;
        uint64_t deadline;
        int r;

        if (!handler)
                return -EINVAL;
        subscription = calloc(1, sizeof(*subscription));
        if (!subscription)
                return -ENOMEM;
        *subscription = (Call) {
                .method = METHOD_LIST_HEAPS,
                .handler = handler,
                .userdata = userdata,
                .is_subscription = true,
        };

        r = connection_lock(c, &deadline);
        if (r >= 0) {
                r = c->subscription ? -EBUSY : subscribe_locked(c, subscription, deadline);
                connection_unlock(c);
        }
        if (r < 0)
                free(subscription);
        return r;
}

static void drop_subscription_events(DmaHeapConnection *c) {
        Call *done = TAKE_PTR(c->done), *call;

        c->done_tail = NULL;
        while ((call = calls_pop(&done)))
                if (call->is_subscription)
                        (void) call_free(call);
                else
                        calls_append(&c->done, &c->done_tail, call);
}

int dmaheap_unsubscribe_heaps(DmaHeapConnection *c) {
        uint64_t deadline;
        int r;

        r = connection_lock(c, &deadline);
        if (r < 0)
                return r;

        c->subscription = call_free(c->subscription);
        drop_subscription_events(c);
        c->subscription_link = connection_drop_link(c, c->subscription_link);
        connection_unlock(c);
        return 0;
}

/* ---- The loop ------------------------------------------------------------------------------------------------ */

int dmaheap_connection_get_fd(DmaHeapConnection *c) {
        uint64_t deadline;
        int r;

        r = connection_lock(c, &deadline);
        if (r < 0)
                return r;

        r = ensure_epoll(c);
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
                        c->link = connection_drop_link(c, c->link);
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
                        c->link = connection_drop_link(c, c->link);
                send_next(c);
        }
        (void) watch_link(c, c->link);
}

static void process_subscription(DmaHeapConnection *c) {
        int r;

        if (!c->subscription_link)
                return;

        do
                r = sd_varlink_process(c->subscription_link);
        while (r > 0);

        if (r < 0)
                subscription_end(c, r);
        if (!c->subscription)
                c->subscription_link = connection_drop_link(c, c->subscription_link);
        (void) watch_link(c, c->subscription_link);
}

int dmaheap_connection_process(DmaHeapConnection *c) {
        uint64_t deadline;
        Call *call;
        int r, n = 0;

        r = connection_lock(c, &deadline);
        if (r < 0)
                return r;

        process_calls(c);
        process_subscription(c);

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
