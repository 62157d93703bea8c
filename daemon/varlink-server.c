/* SPDX-License-Identifier: GPL-2.0-only */

/* The only file that speaks varlink. A method is always: dispatch, validate, act, reply; the reply to Allocate comes later,
 * from the request's callback. Descriptors are pushed only when nothing but the reply itself can fail: sd-varlink hands a
 * pushed descriptor over with whatever is sent next, an error included. */

#include <sys/epoll.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-varlink.h>

#include "build-config.h"
#include "input-watch.h"
#include "log.h"
#include "reply-json.h"
#include "request.h"
#include "time-util.h"
#include "varlink-io.dmaheapd.Allocator.h"
#include "varlink-server.h"

/* A subscriber that has not read the last list gets no other until it has: the next one is whole anyway. */
#define SUBSCRIBER_RETRY_USEC (500 * USEC_PER_MSEC)

/* So many connections past a limit are told of it when they make a call. */
#define CONNECTIONS_REFUSED_MAX 16U

/* So many bytes of calls are taken from a peer while it leaves answers unread. */
#define ASKED_UNREAD_MAX 4096U

typedef struct Link Link;
typedef int (*build_answer_t)(Link *link, sd_json_variant **ret);

struct VarlinkServer {
        Manager *manager;
        sd_varlink_server *server;
        Link *links;
        sd_event_source *behind_source; /* looks again after the subscribers that are behind */
};

/* One connection, from the protocol's side. */
struct Link {
        Link *next;
        VarlinkServer *server;
        sd_varlink *varlink; /* borrowed: sd-varlink keeps it until the disconnect callback */
        Connection connection;
        InputWatch *input_watch;
        size_t asked_unread;       /* bytes of calls since the peer has answers to read */
        AllocateRequest *request;  /* an Allocate without a reply yet */
        RoundWait *wait;           /* for a scan or a census, of a call without a reply yet */
        build_answer_t build;      /* of the call that waits for a census */
        bool subscribed;           /* to ListHeaps */
        bool behind;               /* has yet to hear of a change, being slow to read */
        bool wants_more;           /* of the ListHeaps that waits */
        char *unit;                /* of the ListBuffers that waits: its filter */
        uint64_t uid;
};

static Link *link_free(Link *link) {
        if (!link)
                return NULL;

        for (Link **p = &link->server->links; *p; p = &(*p)->next)
                if (*p == link) {
                        *p = link->next;
                        break;
                }

        round_wait_cancel(link->wait);
        if (link->request)
                allocate_request_cancel(link->request);
        input_watch_free(link->input_watch);
        manager_disconnect(link->server->manager, &link->connection);
        free(link->unit);
        free(link);
        return NULL;
}
DEFINE_CLEANUP(Link, link_free);

/* Whether there are answers that the peer has yet to read. */
static bool link_is_unread(const Link *link) {
        int events = sd_varlink_get_events(link->varlink);

        return events > 0 && (events & EPOLLOUT);
}

/* What cannot be told to a peer ends its connection: it would wait for ever. */
static void link_check(Link *link, int r, const char *what) {
        if (r >= 0)
                return;

        (void) log_debug_errno(r, "Cannot send %s, closing the connection: %m", what);
        (void) sd_varlink_close(link->varlink); /* on_disconnect() frees the link */
}

static void link_send_heaps(Link *link, bool more) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;

        int r = reply_json_heaps(&link->server->manager->heaps, &parameters);
        if (r >= 0)
                r = more ? sd_varlink_notify(link->varlink, parameters) : sd_varlink_reply(link->varlink, parameters);

        link_check(link, r, "the list of heaps");
}

/* Tells the subscribers; with `behind`, only those that have missed something. */
static void server_tell_subscribers(VarlinkServer *server, bool behind) {
        bool again = false;

        for (Link *link = server->links, *next; link; link = next) {
                next = link->next;
                if (!link->subscribed || (behind && !link->behind))
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

/* A ListHeaps whose census has come, or could not. */
static void on_heaps_counted(void *userdata) {
        Link *link = userdata;

        link->wait = NULL;
        link->subscribed = link->wants_more;
        link_send_heaps(link, link->wants_more);
}

static void on_scanned(void *userdata) {
        Link *link = userdata;

        link->wait = NULL;
        link_check(link, accounting_wait_census(link->server->manager->accounting, on_heaps_counted, link, &link->wait),
                   "the list of heaps");
}

/* sd-varlink returns the errno that stands for the error it has sent. */
static int send_error(sd_varlink *varlink, const AllocateReply *reply) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;
        const char *error;

        if (reply->error == ALLOCATE_PERMISSION_DENIED)
                return sd_varlink_error(varlink, SD_VARLINK_ERROR_PERMISSION_DENIED, NULL);
        if (reply->error == ALLOCATE_INVALID_PARAMETER)
                return sd_varlink_error_invalid_parameter_name(varlink, reply->parameter);

        int r = reply_json_error(reply, &error, &parameters);
        return r < 0 ? sd_varlink_error_errno(varlink, r) : sd_varlink_error(varlink, error, parameters);
}

/* Says what is short. Returns the errno that stands for it. */
static int link_refuse(Link *link, const char *resource) {
        int r = send_error(link->varlink, &(AllocateReply) { .error = ALLOCATE_OUT_OF_RESOURCES, .resource = resource });
        return r < 0 ? r : -EUSERS;
}

/* Reads the parameters of a call from a connection that may make calls. Returns 0, or what a method that has answered returns. */
static int link_dispatch(Link *link, sd_json_variant *parameters, const sd_json_dispatch_field *table, void *ret) {
        if (!manager_admit(link->server->manager, &link->connection))
                return link_refuse(link, "connections");

        return sd_varlink_dispatch(link->varlink, parameters, table, ret);
}

/* For methods without parameters. */
static int link_dispatch_nothing(Link *link, sd_json_variant *parameters) {
        static const sd_json_dispatch_field table[] = { {} };

        return link_dispatch(link, parameters, table, NULL);
}

static int vl_method_list_heaps(sd_varlink *varlink _unused_, sd_json_variant *parameters, sd_varlink_method_flags_t flags, void *userdata) {
        Link *link = userdata;

        int r = link_dispatch_nothing(link, parameters);
        if (r != 0)
                return r;
        if (flags & SD_VARLINK_METHOD_ONEWAY)
                return 0;

        link->wants_more = flags & SD_VARLINK_METHOD_MORE;

        if (heap_scan_is_recent(link->server->manager->heap_scan))
                return accounting_wait_census(link->server->manager->accounting, on_heaps_counted, link, &link->wait);

        return heap_scan_wait(link->server->manager->heap_scan, on_scanned, link, &link->wait);
}

static void on_counted(void *userdata) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;
        Link *link = userdata;

        link->wait = NULL;

        int r = link->build(link, &parameters);
        if (r >= 0)
                r = sd_varlink_reply(link->varlink, parameters);
        if (r == -ENOBUFS) /* sd-varlink sends no message of 16 MiB */
                (void) link_refuse(link, "inFlight");
        else
                link_check(link, r, "what is held");
}

/* Answers with what `build` makes of a census that begins now. */
static int link_answer_counted(Link *link, sd_varlink_method_flags_t flags, build_answer_t build) {
        if (flags & SD_VARLINK_METHOD_ONEWAY)
                return 0;

        link->build = build;
        return accounting_wait_census(link->server->manager->accounting, on_counted, link, &link->wait);
}

static int build_usage(Link *link, sd_json_variant **ret) {
        return reply_json_usage(link->server->manager->accounting, link->connection.client, link->connection.peer, ret);
}

static int vl_method_get_usage(sd_varlink *varlink _unused_, sd_json_variant *parameters, sd_varlink_method_flags_t flags, void *userdata) {
        Link *link = userdata;

        int r = link_dispatch_nothing(link, parameters);
        if (r != 0)
                return r;

        return link_answer_counted(link, flags, build_usage);
}

static int build_clients(Link *link, sd_json_variant **ret) {
        return reply_json_clients(link->server->manager->accounting, &link->server->manager->clients, ret);
}

static int vl_method_list_clients(sd_varlink *varlink, sd_json_variant *parameters, sd_varlink_method_flags_t flags, void *userdata) {
        Link *link = userdata;

        int r = link_dispatch_nothing(link, parameters);
        if (r != 0)
                return r;
        if (link->connection.peer->identity.uid != 0)
                return sd_varlink_error(varlink, SD_VARLINK_ERROR_PERMISSION_DENIED, NULL);

        return link_answer_counted(link, flags, build_clients);
}

static int build_buffers(Link *link, sd_json_variant **ret) {
        return reply_json_live_buffers(link->server->manager->accounting, link->unit, link->uid, ret);
}

/* Numbers that may be null, which leaves the default alone. */
static int dispatch_number(const char *name, sd_json_variant *variant, sd_json_dispatch_flags_t flags, void *userdata) {
        if (sd_json_variant_is_null(variant))
                return 0;

        return sd_json_dispatch_uint64(name, variant, flags, userdata);
}

static int vl_method_list_buffers(sd_varlink *varlink, sd_json_variant *parameters, sd_varlink_method_flags_t flags, void *userdata) {
        struct {
                const char *unit;
                uint64_t uid;
        } p = { .uid = UINT64_MAX };
        static const sd_json_dispatch_field table[] = {
                { "unit", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string, offsetof(typeof(p), unit), SD_JSON_NULLABLE },
                { "uid", SD_JSON_VARIANT_UNSIGNED, dispatch_number, offsetof(typeof(p), uid), SD_JSON_NULLABLE },
                {},
        };
        Link *link = userdata;
        int r;

        r = link_dispatch(link, parameters, table, &p);
        if (r != 0)
                return r;
        if (link->connection.peer->identity.uid != 0)
                return sd_varlink_error(varlink, SD_VARLINK_ERROR_PERMISSION_DENIED, NULL);

        free(link->unit);
        link->unit = p.unit ? strdup(p.unit) : NULL;
        link->uid = p.uid;
        if (p.unit && !link->unit)
                return -ENOMEM;

        return link_answer_counted(link, flags, build_buffers);
}

/* Sends the buffers, whose descriptors are taken. Returns false if none of them has reached sd-varlink. */
static bool link_send_buffers(Link *link, const AllocateReply *reply) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;

        int r = reply_json_buffers(reply, &parameters);
        if (r < 0) {
                link_check(link, r, "buffers");
                return false;
        }

        for (size_t i = 0; i < reply->n_buffers; i++) {
                r = sd_varlink_push_fd(link->varlink, reply->buffers[i].fd);
                if (r < 0) {
                        link_check(link, r, "buffers"); /* with what was pushed so far */
                        return i > 0;
                }
                reply->buffers[i].fd = -EBADF;
        }

        link_check(link, sd_varlink_reply(link->varlink, parameters), "buffers");
        return true;
}

static bool on_replied(const AllocateReply *reply, void *userdata) {
        Link *link = userdata;

        link->request = NULL;

        if (reply->error == ALLOCATE_SUCCESS)
                return link_send_buffers(link, reply);

        /* Only a link that still waits has got none. */
        (void) send_error(link->varlink, reply);
        return false;
}

static int vl_method_allocate(sd_varlink *varlink, sd_json_variant *parameters, sd_varlink_method_flags_t flags, void *userdata) {
        struct {
                const char *heap, *role, *access, *label;
                uint64_t size, count;
        } p = { .count = 1 };
        static const sd_json_dispatch_field table[] = {
                { "heap", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string, offsetof(typeof(p), heap), SD_JSON_NULLABLE },
                { "role", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string, offsetof(typeof(p), role), SD_JSON_NULLABLE },
                { "size", SD_JSON_VARIANT_UNSIGNED, sd_json_dispatch_uint64, offsetof(typeof(p), size), SD_JSON_MANDATORY },
                { "count", SD_JSON_VARIANT_UNSIGNED, dispatch_number, offsetof(typeof(p), count), SD_JSON_NULLABLE },
                { "access", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string, offsetof(typeof(p), access), SD_JSON_NULLABLE },
                { "label", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string, offsetof(typeof(p), label), SD_JSON_NULLABLE },
                {},
        };
        Link *link = userdata;
        int r;

        r = link_dispatch(link, parameters, table, &p);
        if (r != 0)
                return r;
        if (flags & SD_VARLINK_METHOD_ONEWAY)
                return 0; /* there would be no reply to carry the buffers */

        if (p.access && !streq(p.access, "readWrite") && !streq(p.access, "readOnly"))
                return sd_varlink_error_invalid_parameter_name(varlink, "access");

        const AllocateParameters asked = {
                .heap = p.heap, .role = p.role,
                .size = p.size,
                .n_buffers = p.count,
                .read_only = p.access && streq(p.access, "readOnly"),
                .label = p.label,
        };
        const char *wrong = allocate_parameters_check(&asked);
        if (wrong)
                return sd_varlink_error_invalid_parameter_name(varlink, wrong);
        if (link_is_unread(link)) /* descriptors would wait with the rest */
                return link_refuse(link, "inFlight");

        return allocate_request_new(&link->server->manager->allocator, &link->connection, &asked, on_replied, link, &link->request);
}

/* sd-varlink goes on reading from a peer that does not, and keeps what it has to say to it, without a bound where descriptors
 * are among it. */
static void on_input_arrived(size_t available, void *userdata) {
        Link *link = userdata;

        link->asked_unread = link_is_unread(link) ? link->asked_unread + available : 0;
        if (link->asked_unread > ASKED_UNREAD_MAX)
                link_check(link, -ENOBUFS, "answers to a peer that asks and does not read");
}

static void on_input_stalled(void *userdata) {
        Link *link = userdata;

        log_debug("Closing a connection that says nothing.");
        (void) sd_varlink_close(link->varlink); /* on_disconnect() frees the link */
}

/* What is past the limits by more than a few is closed by sd-varlink without a word. */
static int server_apply_limits(VarlinkServer *server) {
        const Config *config = server->manager->config;

        int r = sd_varlink_server_set_connections_max(server->server, config->connections_max + CONNECTIONS_REFUSED_MAX);
        if (r < 0)
                return r;

        return sd_varlink_server_set_connections_per_uid_max(server->server, config->connections_per_user_max + CONNECTIONS_REFUSED_MAX);
}

static int on_connect(sd_varlink_server *sd_server _unused_, sd_varlink *varlink, void *userdata) {
        VarlinkServer *server = userdata;
        int r;

        _cleanup_(link_freep) Link *link = calloc(1, sizeof(Link));
        if (!link)
                return -ENOMEM;

        /* A reload may have changed them: they hold from the next connection on. */
        (void) server_apply_limits(server);

        link->server = server;
        link->varlink = varlink;
        link->next = server->links;
        server->links = link;

        r = manager_connect(server->manager, sd_varlink_get_fd(varlink), &link->connection);
        if (r < 0)
                return log_debug_errno(r, "Refusing a connection whose peer cannot be identified: %m");
        (void) manager_admit(server->manager, &link->connection);

        r = input_watch_new(server->manager->event, sd_varlink_get_fd(varlink), on_input_arrived, on_input_stalled, link, &link->input_watch);
        if (r < 0)
                return r;

        r = sd_varlink_set_allow_fd_passing_output(varlink, true);
        if (r < 0)
                return r;

        (void) sd_varlink_set_userdata(varlink, TAKE_PTR(link));
        return 0;
}

static void on_disconnect(sd_varlink_server *sd_server _unused_, sd_varlink *varlink, void *userdata _unused_) {
        link_free(sd_varlink_set_userdata(varlink, NULL));
}

VarlinkServer *varlink_server_free(VarlinkServer *server) {
        if (!server)
                return NULL;

        manager_set_heaps_changed(server->manager, NULL, NULL);
        while (server->links) {
                (void) sd_varlink_set_userdata(server->links->varlink, NULL);
                link_free(server->links);
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
                r = sd_varlink_server_set_info(server->server, "dmaheapd", manager_product(manager), PROJECT_VERSION, NULL);
        if (r >= 0)
                r = sd_varlink_server_add_interface(server->server, &vl_interface_io_dmaheapd_Allocator);
        if (r >= 0)
                r = sd_varlink_server_bind_method_many(
                                server->server,
                                "io.dmaheapd.Allocator.Allocate", vl_method_allocate,
                                "io.dmaheapd.Allocator.ListHeaps", vl_method_list_heaps,
                                "io.dmaheapd.Allocator.GetUsage", vl_method_get_usage,
                                "io.dmaheapd.Allocator.ListClients", vl_method_list_clients,
                                "io.dmaheapd.Allocator.ListBuffers", vl_method_list_buffers);
        if (r >= 0)
                r = sd_varlink_server_bind_connect(server->server, on_connect);
        if (r >= 0)
                r = sd_varlink_server_bind_disconnect(server->server, on_disconnect);
        if (r >= 0)
                r = server_apply_limits(server);
        if (r >= 0)
                r = sd_varlink_server_attach_event(server->server, manager->event, SD_EVENT_PRIORITY_NORMAL);
        if (r >= 0)
                r = sd_event_add_time(manager->event, &server->behind_source, CLOCK_MONOTONIC, UINT64_MAX, 0, on_behind, server);
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
