/* SPDX-License-Identifier: MIT */
/* The subscription to the heaps: a stream of replies, each of which becomes a done call of its own. */

#include "call.h"

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
                call_take_answer(c->subscription, link, parameters, error_name, flags);
                subscription_end(c, 0);
                return 0;
        }

        /* The stream may be silent for as long as nothing changes. */
        (void) sd_varlink_set_relative_timeout(link, DMAHEAP_INFINITY);

        event = subscription_event(c->subscription);
        if (!event)
                return -ENOMEM;
        call_take_answer(event, link, parameters, NULL, flags);
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

static int subscribe_locked(DmaHeapConnection *c, Call *subscription, uint64_t deadline) {
        uint64_t now = now_usec();
        int r;

        r = connection_ensure_epoll(c);
        if (r < 0)
                return r;

        c->subscription_link = connection_drop_link(c->subscription_link);
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
                r = connection_watch_link(c, c->subscription_link);
        if (r < 0) {
                c->subscription_link = connection_drop_link(c->subscription_link);
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
        c->subscription_link = connection_drop_link(c->subscription_link);
        connection_unlock(c);
        return 0;
}

void connection_process_subscription(DmaHeapConnection *c) {
        int r;

        if (!c->subscription_link)
                return;

        do
                r = sd_varlink_process(c->subscription_link);
        while (r > 0);

        if (r < 0)
                subscription_end(c, r);
        if (!c->subscription)
                c->subscription_link = connection_drop_link(c->subscription_link);
        (void) connection_watch_link(c, c->subscription_link);
}
