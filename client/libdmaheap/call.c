/* SPDX-License-Identifier: MIT */

#include <sys/epoll.h>

#include "call.h"

Call *call_free(Call *call) {
        if (!call)
                return NULL;

        (void) sd_json_variant_unref(call->parameters);
        (void) dmaheap_reply_free(call->reply);
        (void) dmaheap_error_free(call->error);
        free(call);
        return NULL;
}

Call *calls_free(Call *head) {
        while (head) {
                Call *next = head->next;

                (void) call_free(head);
                head = next;
        }
        return NULL;
}

void calls_append(Call **head, Call **tail, Call *call) {
        call->next = NULL;
        if (*head)
                (*tail)->next = call;
        else
                *head = call;
        *tail = call;
}

Call *calls_pop(Call **head) {
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

static int local_error_to_errno(const char *name) {
        if (streq_ptr(name, SD_VARLINK_ERROR_TIMEOUT))
                return -ETIMEDOUT;
        if (streq_ptr(name, SD_VARLINK_ERROR_PROTOCOL))
                return -EPROTO;
        return -ECONNRESET;
}

void call_take_answer(Call *call, sd_varlink *link, sd_json_variant *parameters, const char *error_name,
                        sd_varlink_reply_flags_t flags) {
        if (error_name && (flags & SD_VARLINK_REPLY_LOCAL))
                call->result = error_from_link(local_error_to_errno(error_name), method_name(call->method), &call->error);
        else
                call->result = link_take_reply(link, call->method, parameters, error_name, &call->reply, &call->error);
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
