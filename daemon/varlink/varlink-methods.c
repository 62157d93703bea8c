/* SPDX-License-Identifier: GPL-2.0-only */

/* The methods of io.dmaheapd.Allocator. A method is always: dispatch, validate, act, reply. The reply comes later, from
 * the callback of a request, a scan or a census.
 *
 * Invariants: no call is answered before the connection was admitted. Fds are pushed only when nothing but the reply
 * itself can fail, since sd-varlink sends pushed fds with its next message, even with an error. */

#include "util/log.h"
#include "varlink/allocate-parameters.h"
#include "varlink/reply-json.h"
#include "varlink/varlink-link.h"
#include "varlink/varlink-methods.h"

/* Where a parameter goes in the local `p` of its method. */
#define FIELD(member) offsetof(typeof(p), member)

/* Reads the parameters of a call, if the connection is admitted. Returns 0; else an error reply was sent and the method
 * must return this value. */
static int link_dispatch(Link *link, sd_json_variant *parameters, const sd_json_dispatch_field *table, void *ret) {
        if (!manager_admit(link->manager, &link->connection))
                return link_refuse(link, "connections");

        return sd_varlink_dispatch(link->varlink, parameters, table, ret);
}

/* For methods without parameters. */
static int link_dispatch_nothing(Link *link, sd_json_variant *parameters) {
        static const sd_json_dispatch_field table[] = { {} };

        return link_dispatch(link, parameters, table, NULL);
}

/* The census for a ListHeaps is over. Without a result of it the list is sent all the same. */
static void on_heaps_counted(void *userdata) {
        Link *link = userdata;

        link->wait = NULL;
        link->subscribed = link->wants_more;
        link_send_heaps(link, link->wants_more);
}

static void on_heaps_scanned(void *userdata) {
        Link *link = userdata;

        link->wait = NULL;
        link_check(link,
                        accounting_wait_census(link->manager->accounting, on_heaps_counted, link, &link->wait),
                        "the list of heaps");
}

static int vl_method_list_heaps(sd_varlink *varlink _unused_, sd_json_variant *parameters,
                sd_varlink_method_flags_t flags, void *userdata) {
        Link *link = userdata;

        int r = link_dispatch_nothing(link, parameters);
        if (r != 0)
                return r;
        if (flags & SD_VARLINK_METHOD_ONEWAY)
                return 0;

        link->wants_more = flags & SD_VARLINK_METHOD_MORE;

        if (heap_scan_is_recent(link->manager->heap_scan))
                return accounting_wait_census(link->manager->accounting, on_heaps_counted, link, &link->wait);

        return heap_scan_wait(link->manager->heap_scan, on_heaps_scanned, link, &link->wait);
}

static void on_counted(void *userdata) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;
        Link *link = userdata;

        link->wait = NULL;

        int r = link->build(link, &parameters);
        if (r >= 0)
                r = sd_varlink_reply(link->varlink, parameters);
        if (r == -ENOBUFS) /* sd-varlink sends no message of 16 MiB or more */
                (void) link_refuse(link, "inFlight");
        else
                link_check(link, r, "usage, clients or buffers");
}

/* Replies with what `build` makes after a census that begins now. */
static int link_answer_counted(Link *link, sd_varlink_method_flags_t flags, link_build_t build) {
        if (flags & SD_VARLINK_METHOD_ONEWAY)
                return 0;

        link->build = build;
        return accounting_wait_census(link->manager->accounting, on_counted, link, &link->wait);
}

static int build_usage(Link *link, sd_json_variant **ret) {
        return reply_json_usage(link->manager->accounting, link->connection.client, link->connection.peer, ret);
}

static int vl_method_get_usage(sd_varlink *varlink _unused_, sd_json_variant *parameters,
                sd_varlink_method_flags_t flags, void *userdata) {
        Link *link = userdata;

        int r = link_dispatch_nothing(link, parameters);
        if (r != 0)
                return r;

        return link_answer_counted(link, flags, build_usage);
}

static int build_clients(Link *link, sd_json_variant **ret) {
        return reply_json_clients(link->manager->accounting, &link->manager->clients, ret);
}

static int vl_method_list_clients(
                sd_varlink *varlink, sd_json_variant *parameters, sd_varlink_method_flags_t flags, void *userdata) {
        Link *link = userdata;

        int r = link_dispatch_nothing(link, parameters);
        if (r != 0)
                return r;
        if (link->connection.peer->identity.uid != 0)
                return sd_varlink_error(varlink, SD_VARLINK_ERROR_PERMISSION_DENIED, NULL);

        return link_answer_counted(link, flags, build_clients);
}

static int build_buffers(Link *link, sd_json_variant **ret) {
        return reply_json_live_buffers(link->manager->accounting, link->unit, link->uid, ret);
}

/* A number or null; null leaves the default. */
static int dispatch_number(const char *name, sd_json_variant *variant, sd_json_dispatch_flags_t flags, void *userdata) {
        if (sd_json_variant_is_null(variant))
                return 0;

        return sd_json_dispatch_uint64(name, variant, flags, userdata);
}

static int vl_method_list_buffers(
                sd_varlink *varlink, sd_json_variant *parameters, sd_varlink_method_flags_t flags, void *userdata) {
        struct {
                const char *unit;
                uint64_t uid;
        } p = { .uid = UINT64_MAX };
        static const sd_json_dispatch_field table[] = {
                { "unit", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string, FIELD(unit), SD_JSON_NULLABLE },
                { "uid", SD_JSON_VARIANT_UNSIGNED, dispatch_number, FIELD(uid), SD_JSON_NULLABLE },
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

/* Sends the buffers, and takes the fds that reached sd-varlink. Returns false if none did. The link may be gone when
 * this returns. */
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
                        link_check(link, r, "buffers"); /* the fds pushed so far may reach the client */
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

        (void) link_send_error(link, reply);
        return false;
}

static int vl_method_allocate(
                sd_varlink *varlink, sd_json_variant *parameters, sd_varlink_method_flags_t flags, void *userdata) {
        struct {
                const char *heap, *role, *access, *label;
                uint64_t size, count;
        } p = { .count = 1 };
        static const sd_json_dispatch_field table[] = {
                { "heap", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string, FIELD(heap), SD_JSON_NULLABLE },
                { "role", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string, FIELD(role), SD_JSON_NULLABLE },
                { "size", SD_JSON_VARIANT_UNSIGNED, sd_json_dispatch_uint64, FIELD(size), SD_JSON_MANDATORY },
                { "count", SD_JSON_VARIANT_UNSIGNED, dispatch_number, FIELD(count), SD_JSON_NULLABLE },
                { "access", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string, FIELD(access), SD_JSON_NULLABLE },
                { "label", SD_JSON_VARIANT_STRING, sd_json_dispatch_const_string, FIELD(label), SD_JSON_NULLABLE },
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
                .heap = p.heap,
                .role = p.role,
                .size = p.size,
                .n_buffers = p.count,
                .read_only = p.access && streq(p.access, "readOnly"),
                .label = p.label,
        };
        const char *wrong = allocate_parameters_check(&asked);
        if (wrong)
                return sd_varlink_error_invalid_parameter_name(varlink, wrong);
        if (link_is_unread(link)) /* the fds would wait behind the unread answers */
                return link_refuse(link, "inFlight");

        return allocate_request_new(
                        &link->manager->allocator, &link->connection, &asked, on_replied, link, &link->request);
}

int varlink_methods_bind(sd_varlink_server *server) {
        static const struct {
                const char *name;
                sd_varlink_method_t method;
        } methods[] = {
                { "io.dmaheapd.Allocator.Allocate", vl_method_allocate },
                { "io.dmaheapd.Allocator.ListHeaps", vl_method_list_heaps },
                { "io.dmaheapd.Allocator.GetUsage", vl_method_get_usage },
                { "io.dmaheapd.Allocator.ListClients", vl_method_list_clients },
                { "io.dmaheapd.Allocator.ListBuffers", vl_method_list_buffers },
        };

        for (size_t i = 0; i < ELEMENTSOF(methods); i++) {
                int r = sd_varlink_server_bind_method(server, methods[i].name, methods[i].method);
                if (r < 0)
                        return r;
        }

        return 0;
}
