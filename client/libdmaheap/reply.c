/* SPDX-License-Identifier: MIT */
/*
 * Replies of the daemon.
 *
 * Invariant: a reply owns everything that its functions return; no two of its buffers have the same fd.
 */

#include "parse.h"
#include "reply.h"

static const char *const state_names[] = {
        [DMAHEAP_STATE_READY] = "ready",
        [DMAHEAP_STATE_LOADABLE] = "loadable",
        [DMAHEAP_STATE_FAILED] = "failed",
};

static const char *const accounting_names[] = {
        [DMAHEAP_ACCOUNTING_KERNEL] = "kernel",
        [DMAHEAP_ACCOUNTING_DAEMON] = "daemon",
};

static int parse_heap_info(Arena *a, sd_json_variant *v, void *ret) {
        DmaHeapInfo *h = ret;
        int r;

        h->size = DMAHEAP_UNLIMITED;
        h->state = field_enum(v, "state", state_names, ELEMENTS_OF(state_names));
        h->accounting = field_enum(v, "accounting", accounting_names, ELEMENTS_OF(accounting_names));

        if ((r = field_string(a, v, "name", 0, &h->name)) < 0 ||
                        (r = field_string(a, v, "reason", FIELD_OPTIONAL, &h->reason)) < 0 ||
                        (r = field_strv(a, v, "roles", &h->roles)) < 0 ||
                        (r = field_string(a, v, "module", FIELD_OPTIONAL, &h->module)) < 0 ||
                        (r = field_string(a, v, "region", FIELD_OPTIONAL, &h->region)) < 0 ||
                        (r = field_u64(v, "size", FIELD_OPTIONAL, &h->size)) < 0 ||
                        (r = field_u64(v, "used", 0, &h->used)) < 0)
                return r;
        return 0;
}

static int parse_heap_usage(Arena *a, sd_json_variant *v, void *ret) {
        DmaHeapHeapUsage *u = ret;
        int r;

        u->bytes_max = DMAHEAP_UNLIMITED;

        if ((r = field_string(a, v, "heap", 0, &u->heap)) < 0 ||
                        (r = field_u64(v, "bytesUsed", 0, &u->bytes_used)) < 0 ||
                        (r = field_u64(v, "bytesMax", FIELD_OPTIONAL, &u->bytes_max)) < 0)
                return r;
        return 0;
}

static int field_heap_usages(Arena *a, sd_json_variant *v, const DmaHeapHeapUsage *const **ret, size_t *ret_n) {
        return field_array(
                        a, v, "heaps", sizeof(DmaHeapHeapUsage), parse_heap_usage, (const void *const **) ret, ret_n);
}

static int field_usage(Arena *a, sd_json_variant *v, const char *name, const DmaHeapUsage **ret) {
        sd_json_variant *f = sd_json_variant_by_key(v, name);
        DmaHeapUsage *u;
        int r;

        if (!sd_json_variant_is_object(f))
                return -EPROTO;

        u = arena_alloc(a, 1, sizeof(*u));
        if (!u)
                return -ENOMEM;
        u->bytes_max = u->buffers_max = DMAHEAP_UNLIMITED;

        if ((r = field_u64(f, "bytesUsed", 0, &u->bytes_used)) < 0 ||
                        (r = field_u64(f, "bytesMax", FIELD_OPTIONAL, &u->bytes_max)) < 0 ||
                        (r = field_u64(f, "buffersUsed", 0, &u->buffers_used)) < 0 ||
                        (r = field_u64(f, "buffersMax", FIELD_OPTIONAL, &u->buffers_max)) < 0)
                return r;

        *ret = u;
        return 0;
}

static int parse_client(Arena *a, sd_json_variant *v, void *ret) {
        DmaHeapClient *c = ret;
        int r;

        if ((r = field_string(a, v, "unit", FIELD_OPTIONAL, &c->unit)) < 0 ||
                        (r = field_string(a, v, "cgroup", 0, &c->cgroup)) < 0 ||
                        (r = field_uid(v, "uid", &c->uid)) < 0 || (r = field_uid(v, "user", &c->user)) < 0 ||
                        (r = field_u64(v, "connections", 0, &c->connections)) < 0 ||
                        (r = field_usage(a, v, "usage", &c->usage)) < 0 ||
                        (r = field_heap_usages(a, v, &c->heaps, &c->n_heaps)) < 0)
                return r;
        return 0;
}

static int parse_live_buffer(Arena *a, sd_json_variant *v, void *ret) {
        DmaHeapLiveBuffer *b = ret;
        int r;

        if ((r = field_u64(v, "id", 0, &b->id)) < 0 || (r = field_u64(v, "size", 0, &b->size)) < 0 ||
                        (r = field_string(a, v, "heap", 0, &b->heap)) < 0 ||
                        (r = field_string(a, v, "label", FIELD_OPTIONAL, &b->label)) < 0 ||
                        (r = field_string(a, v, "unit", FIELD_OPTIONAL, &b->unit)) < 0 ||
                        (r = field_string(a, v, "cgroup", 0, &b->cgroup)) < 0 ||
                        (r = field_uid(v, "uid", &b->uid)) < 0 || (r = field_uid(v, "user", &b->user)) < 0 ||
                        (r = field_u64(v, "allocatedUSec", 0, &b->allocated_usec)) < 0)
                return r;
        return 0;
}

static int parse_usage_report(DmaHeapReply *reply, sd_json_variant *v) {
        DmaHeapUsageReport *u;
        int r;

        u = arena_alloc(&reply->arena, 1, sizeof(*u));
        if (!u)
                return -ENOMEM;
        u->cgroup_headroom = DMAHEAP_UNLIMITED;

        if ((r = field_usage(&reply->arena, v, "client", &u->client)) < 0 ||
                        (r = field_usage(&reply->arena, v, "user", &u->user)) < 0 ||
                        (r = field_heap_usages(&reply->arena, v, &u->heaps, &u->n_heaps)) < 0 ||
                        (r = field_u64(v, "cgroupHeadroom", FIELD_OPTIONAL, &u->cgroup_headroom)) < 0)
                return r;

        reply->usage = u;
        return 0;
}

static int parse_daemon_info(DmaHeapReply *reply, sd_json_variant *v) {
        DmaHeapDaemonInfo *i;
        int r;

        i = arena_alloc(&reply->arena, 1, sizeof(*i));
        if (!i)
                return -ENOMEM;

        if ((r = field_string(&reply->arena, v, "product", 0, &i->product)) < 0 ||
                        (r = field_string(&reply->arena, v, "version", 0, &i->version)) < 0)
                return r;

        reply->daemon_info = i;
        return 0;
}

static int parse_buffers(DmaHeapReply *reply, sd_json_variant *v, int *fds, size_t n_fds) {
        sd_json_variant *array = sd_json_variant_by_key(v, "buffers");
        DmaHeapBuffer *buffers;
        size_t n;
        int r;

        r = field_string(&reply->arena, v, "heap", 0, &reply->heap);
        if (r < 0)
                return r;
        if (!sd_json_variant_is_array(array))
                return -EPROTO;

        n = sd_json_variant_elements(array);
        buffers = arena_alloc(&reply->arena, n, sizeof(*buffers));
        reply->fds = arena_alloc(&reply->arena, n, sizeof(*reply->fds));
        if (!buffers || !reply->fds)
                return -ENOMEM;
        reply->buffers = buffers;

        for (size_t i = 0; i < n; i++) {
                sd_json_variant *e = sd_json_variant_by_index(array, i);
                uint64_t index = 0;

                if (!sd_json_variant_is_object(e) || field_u64(e, "fileDescriptor", 0, &index) < 0 ||
                                field_u64(e, "id", 0, &buffers[i].id) < 0 ||
                                field_u64(e, "size", 0, &buffers[i].size) < 0)
                        return -EPROTO;
                if (index >= n_fds || fds[index] < 0)
                        return -EPROTO;

                reply->fds[i] = TAKE_FD(fds[index]);
                reply->n_buffers = i + 1; /* dmaheap_reply_free() closes them if a later buffer is wrong */
        }
        return 0;
}

static int field_entries(DmaHeapReply *reply, sd_json_variant *v, const char *name, size_t size, ParseElement parse) {
        return field_array(&reply->arena, v, name, size, parse, &reply->entries, &reply->n_entries);
}

static int parse_parameters(DmaHeapReply *reply, sd_json_variant *v, int *fds, size_t n_fds) {
        switch (reply->method) {
        case METHOD_ALLOCATE:
                return parse_buffers(reply, v, fds, n_fds);
        case METHOD_LIST_HEAPS:
                return field_entries(reply, v, "heaps", sizeof(DmaHeapInfo), parse_heap_info);
        case METHOD_GET_USAGE:
                return parse_usage_report(reply, v);
        case METHOD_LIST_CLIENTS:
                return field_entries(reply, v, "clients", sizeof(DmaHeapClient), parse_client);
        case METHOD_LIST_BUFFERS:
                return field_entries(reply, v, "buffers", sizeof(DmaHeapLiveBuffer), parse_live_buffer);
        case METHOD_GET_INFO:
                return parse_daemon_info(reply, v);
        case METHOD_MAX_:
                break;
        }
        return -EINVAL;
}

int reply_parse(Method method, sd_json_variant *parameters, int *fds, size_t n_fds, DmaHeapReply **ret) {
        DmaHeapReply *reply;
        int r;

        if (!sd_json_variant_is_object(parameters))
                return -EPROTO;

        reply = calloc(1, sizeof(*reply));
        if (!reply)
                return -ENOMEM;
        reply->method = method;

        r = parse_parameters(reply, parameters, fds, n_fds);
        if (r >= 0)
                r = sd_json_variant_format(parameters, SD_JSON_FORMAT_NEWLINE, &reply->json);
        if (r < 0) {
                (void) dmaheap_reply_free(reply);
                return r;
        }

        *ret = reply;
        return 0;
}

DmaHeapReply *dmaheap_reply_free(DmaHeapReply *reply) {
        if (!reply)
                return NULL;

        for (size_t i = 0; i < reply->n_buffers; i++)
                (void) fd_close(reply->fds[i]);
        free(reply->json);
        arena_done(&reply->arena);
        free(reply);
        return NULL;
}

const char *dmaheap_reply_heap(const DmaHeapReply *reply) {
        return reply ? reply->heap : NULL;
}

size_t dmaheap_reply_n_buffers(const DmaHeapReply *reply) {
        return reply ? reply->n_buffers : 0;
}

const DmaHeapBuffer *dmaheap_reply_buffer(const DmaHeapReply *reply, size_t i) {
        return reply && i < reply->n_buffers ? reply->buffers + i : NULL;
}

int dmaheap_reply_fd(const DmaHeapReply *reply, size_t i) {
        return reply && i < reply->n_buffers ? reply->fds[i] : -ENXIO;
}

int dmaheap_reply_take_fd(DmaHeapReply *reply, size_t i) {
        return reply && i < reply->n_buffers ? TAKE_FD(reply->fds[i]) : -ENXIO;
}

static const void *const *reply_entries(const DmaHeapReply *reply, Method method, size_t *ret_n) {
        if (!reply || reply->method != method) {
                *ret_n = 0;
                return NULL;
        }
        *ret_n = reply->n_entries;
        return reply->entries;
}

const DmaHeapInfo *const *dmaheap_reply_heaps(const DmaHeapReply *reply, size_t *ret_n) {
        return (const DmaHeapInfo *const *) reply_entries(reply, METHOD_LIST_HEAPS, ret_n);
}

const DmaHeapUsageReport *dmaheap_reply_usage(const DmaHeapReply *reply) {
        return reply ? reply->usage : NULL;
}

const DmaHeapClient *const *dmaheap_reply_clients(const DmaHeapReply *reply, size_t *ret_n) {
        return (const DmaHeapClient *const *) reply_entries(reply, METHOD_LIST_CLIENTS, ret_n);
}

const DmaHeapLiveBuffer *const *dmaheap_reply_live_buffers(const DmaHeapReply *reply, size_t *ret_n) {
        return (const DmaHeapLiveBuffer *const *) reply_entries(reply, METHOD_LIST_BUFFERS, ret_n);
}

const DmaHeapDaemonInfo *dmaheap_reply_daemon_info(const DmaHeapReply *reply) {
        return reply ? reply->daemon_info : NULL;
}

int dmaheap_reply_json(const DmaHeapReply *reply, int pretty, char **ret) {
        CLEANUP(sd_json_variant_unrefp) sd_json_variant *v = NULL;
        char *copy;
        int r;

        if (!reply)
                return -EINVAL;

        if (!pretty) {
                copy = strdup(reply->json);
                if (!copy)
                        return -ENOMEM;
                *ret = copy;
                return 0;
        }

        r = sd_json_parse(reply->json, 0, &v, NULL, NULL);
        if (r < 0)
                return r;

        r = sd_json_variant_format(v, SD_JSON_FORMAT_PRETTY | SD_JSON_FORMAT_NEWLINE, &copy);
        if (r < 0)
                return r;
        *ret = copy;
        return 0;
}
