/* SPDX-License-Identifier: MIT */
/*
 * Blocking calls. dmaheap.h is the contract of this file.
 *
 * Invariant: a call holds the connection's lock from before its request is sent until its answer is taken, so that no
 * other thread's answer can be mistaken for it. After an answer that did not come, or that makes no sense, the link is
 * dropped: a later call must not get what belongs to this one.
 */

#include <systemd/sd-json.h>

#include "connection.h"
#include "error.h"
#include "link.h"
#include "request.h"

static int call_locked(DmaHeapConnection *c, Method method, sd_json_variant *parameters, uint64_t deadline,
                DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        sd_json_variant *reply = NULL; /* both belong to the link */
        const char *error_name = NULL;
        int r;

        if (c->calls.head)
                return -EBUSY;

        r = connection_ensure_link(c, &c->link, true, deadline, ret_error);
        if (r < 0)
                return r;

        r = link_set_deadline(c->link, deadline);
        if (r >= 0)
                r = sd_varlink_call(c->link, method_name(method), parameters, &reply, &error_name);
        if (r < 0)
                r = error_from_link(r, method_name(method), ret_error);
        else
                r = link_take_reply(c->link, method, reply, error_name, ret_reply, ret_error);

        if (r == -ECONNRESET || r == -ETIMEDOUT || r == -EPROTO || r == -EMFILE || r == -ENOMEM)
                c->link = link_drop(c->link);
        return r;
}

static int call_blocking(DmaHeapConnection *c, Method method, sd_json_variant *parameters, DmaHeapReply **ret_reply,
                DmaHeapError **ret_error) {
        uint64_t deadline;
        int r;

        if (!ret_reply)
                return -EINVAL;

        r = connection_lock(c, &deadline);
        if (r == -ETIMEDOUT)
                return error_from_link(r, method_name(method), ret_error);
        if (r < 0)
                return r;

        r = call_locked(c, method, parameters, deadline, ret_reply, ret_error);
        connection_unlock(c);
        return r;
}

int dmaheap_allocate(DmaHeapConnection *c, const DmaHeapRequest *request, DmaHeapReply **ret_reply,
                DmaHeapError **ret_error) {
        CLEANUP(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;
        int r;

        r = request_build(request, &parameters, ret_error);
        if (r < 0)
                return r;

        return call_blocking(c, METHOD_ALLOCATE, parameters, ret_reply, ret_error);
}

int dmaheap_allocate_fd(DmaHeapConnection *c, const char *role, uint64_t size, DmaHeapError **ret_error) {
        DmaHeapReply *reply = NULL;
        int r, fd;

        r = dmaheap_allocate(c, &(DmaHeapRequest) { .role = role, .size = size }, &reply, ret_error);
        if (r < 0)
                return r;

        fd = dmaheap_reply_take_fd(reply, 0);
        (void) dmaheap_reply_free(reply);
        return fd >= 0 ? fd : error_from_link(-EPROTO, method_name(METHOD_ALLOCATE), ret_error);
}

int dmaheap_list_heaps(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        return call_blocking(c, METHOD_LIST_HEAPS, NULL, ret_reply, ret_error);
}

int dmaheap_get_usage(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        return call_blocking(c, METHOD_GET_USAGE, NULL, ret_reply, ret_error);
}

int dmaheap_list_clients(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        return call_blocking(c, METHOD_LIST_CLIENTS, NULL, ret_reply, ret_error);
}

int dmaheap_get_daemon_info(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        return call_blocking(c, METHOD_GET_INFO, NULL, ret_reply, ret_error);
}

int dmaheap_list_buffers(
                DmaHeapConnection *c, const char *unit, uid_t uid, DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        CLEANUP(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;
        int r;

        r = sd_json_buildo(&parameters,
                        SD_JSON_BUILD_PAIR_CONDITION(!!unit, "unit", SD_JSON_BUILD_STRING(unit)),
                        SD_JSON_BUILD_PAIR_CONDITION(uid != (uid_t) -1, "uid", SD_JSON_BUILD_UNSIGNED(uid)));
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return error_set(ret_error, DMAHEAP_INVALID_PARAMETER, -EINVAL, "the unit is not valid UTF-8");

        return call_blocking(c, METHOD_LIST_BUFFERS, parameters, ret_reply, ret_error);
}
