/* SPDX-License-Identifier: MIT */
/*
 * A call of a program's event loop, and lists of calls.
 *
 * Invariant: a call is in one list at the most, and the function that removes it from there owns it.
 */

#include "call.h"
#include "error.h"
#include "link.h"

int call_new(Method method, sd_json_variant *parameters, DmaHeapHandler handler, void *userdata, Call **ret) {
        Call *call;

        if (!handler)
                return -EINVAL;
        call = calloc(1, sizeof(*call));
        if (!call)
                return -ENOMEM;

        *call = (Call) {
                .method = method,
                .parameters = sd_json_variant_ref(parameters),
                .handler = handler,
                .userdata = userdata,
        };
        *ret = call;
        return 0;
}

Call *call_free(Call *call) {
        if (!call)
                return NULL;

        (void) sd_json_variant_unref(call->parameters);
        (void) dmaheap_reply_free(call->reply);
        (void) dmaheap_error_free(call->error);
        free(call);
        return NULL;
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
                call->result = error_from_link(
                                local_error_to_errno(error_name), method_name(call->method), &call->error);
        else
                call->result = link_take_reply(link, call->method, parameters, error_name, &call->reply, &call->error);
}

void call_list_append(CallList *list, Call *call) {
        call->next = NULL;
        if (list->head)
                list->tail->next = call;
        else
                list->head = call;
        list->tail = call;
}

Call *call_list_pop(CallList *list) {
        Call *call = list->head;

        if (call)
                list->head = call->next;
        return call;
}

void call_list_done(CallList *list) {
        Call *call;

        while ((call = call_list_pop(list)))
                (void) call_free(call);
}
