/* SPDX-License-Identifier: GPL-2.0-only */

/* One connection, and the ways to send something on it. Invariant: a peer for which something cannot be sent is
 * disconnected, since it would wait for ever; and so is one that asks on without reading, since what sd-varlink queues
 * for it would grow without limit. */

#include <sys/epoll.h>

#include "util/log.h"
#include "varlink/reply-json.h"
#include "varlink/varlink-link.h"

/* Bytes of calls that are taken from a peer while it leaves answers unread. */
#define ASKED_UNREAD_MAX 4096U

Link *link_free(Link *link) {
        if (!link)
                return NULL;

        round_wait_cancel(link->wait);
        if (link->request)
                allocate_request_cancel(link->request);
        input_watch_free(link->input_watch);
        manager_disconnect(link->manager, &link->connection);
        free(link->unit);
        free(link);
        return NULL;
}

bool link_is_unread(const Link *link) {
        int events = sd_varlink_get_events(link->varlink);

        return events > 0 && (events & EPOLLOUT);
}

void link_check(Link *link, int r, const char *what) {
        if (r >= 0)
                return;

        (void) log_debug_errno(r, "Cannot send %s, closing the connection: %m", what);
        (void) sd_varlink_close(link->varlink); /* the disconnect callback frees the link */
}

int link_send_error(Link *link, const AllocateReply *reply) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;
        const char *error;

        if (reply->error == ALLOCATE_PERMISSION_DENIED)
                return sd_varlink_error(link->varlink, SD_VARLINK_ERROR_PERMISSION_DENIED, NULL);
        if (reply->error == ALLOCATE_INVALID_PARAMETER)
                return sd_varlink_error_invalid_parameter_name(link->varlink, reply->parameter);

        int r = reply_json_error(reply, &error, &parameters);
        return r < 0 ? sd_varlink_error_errno(link->varlink, r) : sd_varlink_error(link->varlink, error, parameters);
}

int link_refuse(Link *link, const char *resource) {
        int r = link_send_error(link, &(AllocateReply) { .error = ALLOCATE_OUT_OF_RESOURCES, .resource = resource });

        return r < 0 ? r : -EUSERS;
}

void link_send_heaps(Link *link, bool more) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;

        int r = reply_json_heaps(&link->manager->heaps, &parameters);
        if (r >= 0)
                r = more ? sd_varlink_notify(link->varlink, parameters) : sd_varlink_reply(link->varlink, parameters);

        link_check(link, r, "the list of heaps");
}

/* sd-varlink keeps reading from a peer that never reads replies and queues them; replies with fds are queued without
 * limit. */
static void on_input_arrived(size_t available, void *userdata) {
        Link *link = userdata;

        link->asked_unread = link_is_unread(link) ? link->asked_unread + available : 0;
        if (link->asked_unread > ASKED_UNREAD_MAX)
                link_check(link, -ENOBUFS, "answers to a peer that asks and does not read");
}

static void on_input_stalled(void *userdata) {
        Link *link = userdata;

        log_debug("Closing a connection that says nothing.");
        (void) sd_varlink_close(link->varlink); /* the disconnect callback frees the link */
}

int link_new(Manager *manager, sd_varlink *varlink, Link **ret) {
        int r;

        _cleanup_(link_freep) Link *link = calloc(1, sizeof(Link));
        if (!link)
                return -ENOMEM;

        link->manager = manager;
        link->varlink = varlink;

        r = manager_connect(manager, sd_varlink_get_fd(varlink), &link->connection);
        if (r < 0)
                return log_debug_errno(r, "Refusing a connection whose peer cannot be identified: %m");
        (void) manager_admit(manager, &link->connection); /* link_dispatch() refuses calls where this failed */

        r = input_watch_new(manager->event,
                        sd_varlink_get_fd(varlink),
                        on_input_arrived,
                        on_input_stalled,
                        link,
                        &link->input_watch);
        if (r < 0)
                return r;

        r = sd_varlink_set_allow_fd_passing_output(varlink, true);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(link);
        return 0;
}
