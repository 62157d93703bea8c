/* SPDX-License-Identifier: MIT */
/* A call that was begun and whose handler waits for the answer; lists of them; and the epoll fd that a program watches. */
#pragma once

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

/* Frees it with what it owns. Accepts NULL. Returns NULL. */
Call *call_free(Call *call);
Call *calls_free(Call *head);

void calls_append(Call **head, Call **tail, Call *call);

/* The first, or NULL. */
Call *calls_pop(Call **head);

/* Stores the answer that a link's reply callback got: the result, and the reply or the error. */
void call_take_answer(Call *call, sd_varlink *link, sd_json_variant *parameters, const char *error_name,
                      sd_varlink_reply_flags_t flags);

/* Makes the epoll fd, if there is none, and lets it watch the links there are. */
int connection_ensure_epoll(DmaHeapConnection *c);

/* Lets the epoll fd, if there is one, watch a link for what it waits for now. Accepts NULL. */
int connection_watch_link(DmaHeapConnection *c, sd_varlink *link);

/* ---- subscription.c ---- */

/* Takes in what arrived on the subscription's link. */
void connection_process_subscription(DmaHeapConnection *c);
