/* SPDX-License-Identifier: MIT */
/*
 * The subscription to the heaps: one ListHeaps call whose replies never end. Each reply becomes a call of its own in
 * c->done.
 *
 * Invariant: c->subscription is set exactly as long as the handler may still get something that has not arrived. When
 * it ends, the handler gets one last call, with the error.
 */

#include "clock.h"
#include "error.h"
#include "link.h"
#include "subscription.h"

/* Ends the subscription: its own call becomes the last one. error: the negative errno of sd_varlink that ended it,
 * unless the call has a result already. */
static void subscription_end(DmaHeapConnection *c, int error) {
        Call *call = TAKE_PTR(c->subscription);

        if (!call)
                return;
        if (call->result >= 0)
                call->result = error_from_link(error, "the subscription", &call->error);
        call_list_append(&c->done, call);
}

static int on_heaps(sd_varlink *link, sd_json_variant *parameters, const char *error_name,
                sd_varlink_reply_flags_t flags, void *userdata) {
        DmaHeapConnection *c = userdata;
        Call *subscription, *event;
        int r;

        if (!c || !c->subscription)
                return 0;
        subscription = c->subscription;

        if (error_name) {
                call_take_answer(subscription, link, parameters, error_name, flags);
                subscription_end(c, 0);
                return 0;
        }

        /* Only the first reply had to come in time: the stream is silent while no heap changes. */
        (void) link_set_deadline(link, DMAHEAP_INFINITY);

        r = call_new(subscription->method, NULL, subscription->handler, subscription->userdata, &event);
        if (r < 0)
                return r;
        event->is_subscription = true;
        call_take_answer(event, link, parameters, NULL, flags);
        call_list_append(&c->done, event);

        if (event->result < 0)
                c->subscription = call_free(subscription); /* the event is the last call, with the error */
        else if (!(flags & SD_VARLINK_REPLY_CONTINUES))
                subscription_end(c, -ECONNRESET);
        return 0;
}

static int subscribe_locked(DmaHeapConnection *c, Call *subscription, uint64_t deadline) {
        int r;

        r = connection_ensure_epoll(c);
        if (r < 0)
                return r;

        c->subscription_link = link_drop(c->subscription_link);
        r = connection_ensure_link(c, &c->subscription_link, false, deadline, NULL);
        if (r < 0)
                return r;

        r = sd_varlink_bind_reply(c->subscription_link, on_heaps);
        if (r >= 0)
                r = link_set_deadline(c->subscription_link, deadline);
        if (r >= 0)
                r = sd_varlink_observe(c->subscription_link, method_name(subscription->method), NULL);
        if (r >= 0)
                r = connection_watch_link(c, c->subscription_link);
        if (r < 0) {
                c->subscription_link = link_drop(c->subscription_link);
                return r;
        }

        c->subscription = subscription;
        return 0;
}

int dmaheap_subscribe_heaps(DmaHeapConnection *c, DmaHeapHandler handler, void *userdata) {
        Call *subscription = NULL;
        uint64_t deadline;
        int r;

        r = call_new(METHOD_LIST_HEAPS, NULL, handler, userdata, &subscription);
        if (r < 0)
                return r;
        subscription->is_subscription = true;

        r = connection_lock(c, &deadline);
        if (r >= 0) {
                r = c->subscription ? -EBUSY : subscribe_locked(c, subscription, deadline);
                connection_unlock(c);
        }
        if (r < 0)
                (void) call_free(subscription);
        return r;
}

/* Frees what has arrived for the handler and not been given to it yet. */
static void drop_subscription_events(DmaHeapConnection *c) {
        CallList done = c->done;
        Call *call;

        c->done = (CallList) {};
        while ((call = call_list_pop(&done)))
                if (call->is_subscription)
                        (void) call_free(call);
                else
                        call_list_append(&c->done, call);
}

int dmaheap_unsubscribe_heaps(DmaHeapConnection *c) {
        uint64_t deadline;
        int r;

        r = connection_lock(c, &deadline);
        if (r < 0)
                return r;

        c->subscription = call_free(c->subscription);
        drop_subscription_events(c);
        c->subscription_link = link_drop(c->subscription_link);
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
                c->subscription_link = link_drop(c->subscription_link);
        (void) connection_watch_link(c, c->subscription_link);
}
