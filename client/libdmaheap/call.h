/* SPDX-License-Identifier: MIT */
/* A call of a program's event loop, from its begin until its handler runs; and lists of calls. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <systemd/sd-json.h>
#include <systemd/sd-varlink.h>

#include "dmaheap.h"
#include "method.h"

typedef struct Call Call;

struct Call {
        Call *next; /* in a CallList */
        Method method;
        sd_json_variant *parameters; /* owned, or NULL */
        DmaHeapHandler handler;
        void *userdata;    /* for the handler */
        uint64_t deadline; /* CLOCK_MONOTONIC, microseconds; a subscription has none */
        bool is_subscription;

        /* The answer: result is 0 or a negative errno, reply and error are owned. */
        int result;
        DmaHeapReply *reply;
        DmaHeapError *error;
};

/* First in, first out. Zero-initialise it. tail is only valid while head is not NULL. */
typedef struct CallList {
        Call *head;
        Call *tail;
} CallList;

/* Makes a call, which takes a reference to parameters (or NULL). Returns 0, and the caller frees *ret with call_free();
 * -EINVAL if handler is NULL; -ENOMEM. */
int call_new(Method method, sd_json_variant *parameters, DmaHeapHandler handler, void *userdata, Call **ret);

/* Frees a call with its parameters, reply and error, without running the handler. Accepts NULL. Returns NULL. */
Call *call_free(Call *call);

/* Stores the answer that a link's reply callback got, in call->result, ->reply and ->error. The arguments are the
 * callback's; with SD_VARLINK_REPLY_LOCAL the error is one that sd-varlink made up, for example after a timeout. */
void call_take_answer(Call *call, sd_varlink *link, sd_json_variant *parameters, const char *error_name,
                sd_varlink_reply_flags_t flags);

/* Adds a call at the end. The list owns it. */
void call_list_append(CallList *list, Call *call);

/* Removes the first call and returns it to the caller, who owns it then; NULL if the list is empty. */
Call *call_list_pop(CallList *list);

/* Frees all calls. */
void call_list_done(CallList *list);
