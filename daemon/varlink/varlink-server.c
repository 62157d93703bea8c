/* SPDX-License-Identifier: GPL-2.0-only */

/* The server listens, has a Link for each connection, and tells subscribers of ListHeaps when the list changes.
 * Invariant: every link that is not behind has been sent the last change; those that are behind are looked at again
 * until they have read. */

#include <systemd/sd-daemon.h>

#include "build-config.h"
#include "util/list.h"
#include "util/log.h"
#include "varlink/varlink-io.dmaheapd.Allocator.h"
#include "varlink/varlink-link.h"
#include "varlink/varlink-methods.h"
#include "varlink/varlink-server.h"

/* Subscribers that have not read the last list are skipped for this long; each list is complete, so nothing is lost. */
#define SUBSCRIBER_RETRY_USEC (500 * USEC_PER_MSEC)

/* Connections accepted beyond the limit so that their calls can be answered with OutOfResources. */
#define CONNECTIONS_REFUSED_MAX 16U

struct VarlinkServer {
        Manager *manager;
        sd_varlink_server *server;
        Link *links;
        sd_event_source *behind_source; /* looks again at subscribers that are behind */
};

/* Sends the list of the heaps to the subscribers; with only_behind, to those that have missed a change. */
static void server_tell_subscribers(VarlinkServer *server, bool only_behind) {
        bool again = false;

        for (Link *link = server->links, *next; link; link = next) {
                next = link->next; /* link_send_heaps() may free the link */
                if (!link->subscribed || (only_behind && !link->behind))
                        continue;

                link->behind = link_is_unread(link);
                again = again || link->behind;
                if (!link->behind)
                        link_send_heaps(link, true);
        }

        if (again) {
                (void) sd_event_source_set_time_relative(server->behind_source, SUBSCRIBER_RETRY_USEC);
                (void) sd_event_source_set_enabled(server->behind_source, SD_EVENT_ONESHOT);
        }
}

static int on_behind(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        server_tell_subscribers(userdata, true);
        return 0;
}

static void on_heaps_changed(void *userdata) {
        server_tell_subscribers(userdata, false);
}

/* Beyond CONNECTIONS_REFUSED_MAX extra, sd-varlink closes connections silently. */
static int server_apply_limits(VarlinkServer *server) {
        const Config *config = server->manager->config;

        int r = sd_varlink_server_set_connections_max(
                        server->server, config->connections_max + CONNECTIONS_REFUSED_MAX);
        if (r < 0)
                return r;

        return sd_varlink_server_set_connections_per_uid_max(
                        server->server, config->connections_per_user_max + CONNECTIONS_REFUSED_MAX);
}

static int on_connect(sd_varlink_server *sd_server _unused_, sd_varlink *varlink, void *userdata) {
        VarlinkServer *server = userdata;
        Link *link;

        /* A reload may have changed them: they hold from the next connection on. */
        (void) server_apply_limits(server);

        int r = link_new(server->manager, varlink, &link);
        if (r < 0)
                return r;

        LIST_PREPEND(server->links, link);
        (void) sd_varlink_set_userdata(varlink, link);
        return 0;
}

static void on_disconnect(sd_varlink_server *sd_server _unused_, sd_varlink *varlink, void *userdata) {
        VarlinkServer *server = userdata;
        Link *link = sd_varlink_set_userdata(varlink, NULL);

        if (link && LIST_REMOVE(server->links, link))
                link_free(link);
}

VarlinkServer *varlink_server_free(VarlinkServer *server) {
        if (!server)
                return NULL;

        manager_set_heaps_changed(server->manager, NULL, NULL);
        for (Link *link; (link = LIST_TAKE_FIRST(server->links));) {
                (void) sd_varlink_set_userdata(link->varlink, NULL);
                link_free(link);
        }
        sd_event_source_disable_unref(server->behind_source);
        sd_varlink_server_unref(server->server);
        free(server);
        return NULL;
}

int varlink_server_new(Manager *manager, VarlinkServer **ret) {
        int r;

        _cleanup_(varlink_server_freep) VarlinkServer *server = calloc(1, sizeof(VarlinkServer));
        if (!server)
                return log_error_errno(ENOMEM, "Cannot set up the varlink server: %m");
        server->manager = manager;

        r = sd_varlink_server_new(&server->server, SD_VARLINK_SERVER_ACCOUNT_UID);
        if (r >= 0)
                r = sd_varlink_server_set_info(
                                server->server, "dmaheapd", manager_product(manager), PROJECT_VERSION, NULL);
        if (r >= 0)
                r = sd_varlink_server_add_interface(server->server, &vl_interface_io_dmaheapd_Allocator);
        if (r >= 0)
                r = varlink_methods_bind(server->server);
        if (r >= 0)
                r = sd_varlink_server_bind_connect(server->server, on_connect);
        if (r >= 0)
                r = sd_varlink_server_bind_disconnect(server->server, on_disconnect);
        if (r >= 0)
                r = server_apply_limits(server);
        if (r >= 0)
                r = sd_varlink_server_attach_event(server->server, manager->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_event_add_time(manager->event,
                                &server->behind_source,
                                CLOCK_MONOTONIC,
                                UINT64_MAX,
                                0,
                                on_behind,
                                server);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the varlink server: %m");

        (void) sd_varlink_server_set_userdata(server->server, server);
        manager_set_heaps_changed(manager, on_heaps_changed, server);

        r = sd_varlink_server_listen_auto(server->server);
        if (r < 0)
                return log_error_errno(r, "Cannot listen on the socket from systemd: %m");
        if (r == 0)
                return log_error_errno(ENOTCONN, "No socket was passed; dmaheapd is started by dmaheapd.socket.");

        *ret = TAKE_PTR(server);
        return 0;
}
