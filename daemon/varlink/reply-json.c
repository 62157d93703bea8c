/* SPDX-License-Identifier: GPL-2.0-only */

/* Makes the JSON of replies and errors. Invariant: the order and the names of the members are those of the interface,
 * and a member that is null is left out; tests/unit/test-reply-json.c has every reply and error to the byte. */

#include "varlink/reply-json.h"

static const char *heap_state_to_string(HeapState state) {
        static const char *const names[] = {
                [HEAP_READY] = "ready",
                [HEAP_LOADABLE] = "loadable",
                [HEAP_FAILED] = "failed",
        };

        return names[state];
}

/* LIMIT_INFINITY and NULL are sent as null, which is to leave the member out. */
#define PAIR_LIMIT(name, limit) \
        SD_JSON_BUILD_PAIR_CONDITION((limit) != LIMIT_INFINITY, name, SD_JSON_BUILD_UNSIGNED(limit))
#define PAIR_STRING_OR_NULL(name, string) SD_JSON_BUILD_PAIR_CONDITION(!!(string), name, SD_JSON_BUILD_STRING(string))

static int build_heap(const HeapRegistry *registry, const Heap *heap, sd_json_variant **ret) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *roles = NULL;
        const Region *region = heap->region;
        /* Omit a declared module that is not installed: it cannot have provided a ready heap. */
        const char *module = heap->declared || heap->state == HEAP_FAILED ? heap->module : NULL;
        int r;

        r = sd_json_variant_new_array(&roles, NULL, 0);
        if (r < 0)
                return r;

        for (const Role *role = registry->roles; role; role = role->next)
                if (role_serves(role, heap)) {
                        r = sd_json_variant_append_arrayb(&roles, SD_JSON_BUILD_STRING(role->name));
                        if (r < 0)
                                return r;
                }

        return sd_json_buildo(ret,
                        SD_JSON_BUILD_PAIR_STRING("name", heap->name),
                        SD_JSON_BUILD_PAIR_STRING("state", heap_state_to_string(heap->state)),
                        PAIR_STRING_OR_NULL("reason", heap->reason),
                        SD_JSON_BUILD_PAIR_VARIANT("roles", roles),
                        PAIR_STRING_OR_NULL("module", module),
                        SD_JSON_BUILD_PAIR_STRING("accounting",
                                        heap_registry_kernel_charges(registry, heap) ? "kernel" : "daemon"),
                        SD_JSON_BUILD_PAIR_CONDITION(
                                        !!region, "region", SD_JSON_BUILD_STRING(region ? region->name : NULL)),
                        SD_JSON_BUILD_PAIR_CONDITION(
                                        heap_size_max(heap) > 0, "size", SD_JSON_BUILD_UNSIGNED(heap_size_max(heap))),
                        SD_JSON_BUILD_PAIR_UNSIGNED("used", heap->bytes_used));
}

int reply_json_heaps(const HeapRegistry *registry, sd_json_variant **ret) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *heaps = NULL;
        int r;

        r = sd_json_variant_new_array(&heaps, NULL, 0);
        if (r < 0)
                return r;

        for (const Heap *heap = registry->heaps; heap; heap = heap->next) {
                _cleanup_(sd_json_variant_unrefp) sd_json_variant *item = NULL;

                if (!heap_registry_shows(registry, heap))
                        continue;

                r = build_heap(registry, heap, &item);
                if (r >= 0)
                        r = sd_json_variant_append_array(&heaps, item);
                if (r < 0)
                        return r;
        }

        return sd_json_buildo(ret, SD_JSON_BUILD_PAIR_VARIANT("heaps", heaps));
}

static int build_usage(const QuotaAccount *account, uint64_t bytes_max, uint64_t buffers_max, sd_json_variant **ret) {
        return sd_json_buildo(ret,
                        SD_JSON_BUILD_PAIR_UNSIGNED("bytesUsed", account->bytes),
                        PAIR_LIMIT("bytesMax", bytes_max),
                        SD_JSON_BUILD_PAIR_UNSIGNED("buffersUsed", account->buffers),
                        PAIR_LIMIT("buffersMax", buffers_max));
}

static int build_heap_usages(const Accounting *accounting, const Client *client, sd_json_variant **ret) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *usages = NULL;
        int r;

        r = sd_json_variant_new_array(&usages, NULL, 0);
        if (r < 0)
                return r;

        for (HeapUsage usage = {}; accounting_next_usage(accounting, client, &usage);) {
                r = sd_json_variant_append_arraybo(&usages,
                                SD_JSON_BUILD_PAIR_STRING("heap", usage.heap->name),
                                SD_JSON_BUILD_PAIR_UNSIGNED("bytesUsed", usage.bytes_used),
                                PAIR_LIMIT("bytesMax", usage.bytes_max));
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(usages);
        return 0;
}

int reply_json_usage(Accounting *accounting, const Client *client, const Peer *peer, sd_json_variant **ret) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *of_client = NULL, *of_user = NULL, *heaps = NULL;
        uint64_t headroom = MEMORY_INFINITY;
        PolicyLimits limits;
        int r;

        accounting_limits(accounting, client, &limits);

        r = build_usage(&client->account, limits.client_bytes, limits.client_buffers, &of_client);
        if (r >= 0)
                r = build_usage(&client->user->account, limits.user_bytes, LIMIT_INFINITY, &of_user);
        if (r >= 0)
                r = build_heap_usages(accounting, client, &heaps);
        if (r >= 0) {
                r = accounting_headroom(accounting, peer, &headroom);
                if (r == -ENOENT) {
                        headroom = 0; /* the control group is gone, and can take nothing */
                        r = 0;
                }
        }
        if (r < 0)
                return r;

        return sd_json_buildo(ret,
                        SD_JSON_BUILD_PAIR_VARIANT("client", of_client),
                        SD_JSON_BUILD_PAIR_VARIANT("user", of_user),
                        SD_JSON_BUILD_PAIR_VARIANT("heaps", heaps),
                        PAIR_LIMIT("cgroupHeadroom", headroom));
}

static int build_client(const Accounting *accounting, const Client *client, sd_json_variant **ret) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *usage = NULL, *heaps = NULL;
        PolicyLimits limits;
        int r;

        accounting_limits(accounting, client, &limits);

        r = build_usage(&client->account, limits.client_bytes, limits.client_buffers, &usage);
        if (r >= 0)
                r = build_heap_usages(accounting, client, &heaps);
        if (r < 0)
                return r;

        return sd_json_buildo(ret,
                        PAIR_STRING_OR_NULL("unit", client->identity.unit),
                        SD_JSON_BUILD_PAIR_STRING("cgroup", client->identity.cgroup),
                        SD_JSON_BUILD_PAIR_UNSIGNED("uid", client->identity.uid),
                        SD_JSON_BUILD_PAIR_UNSIGNED("user", client->user->uid),
                        SD_JSON_BUILD_PAIR_UNSIGNED("connections", client->n_connections),
                        SD_JSON_BUILD_PAIR_VARIANT("usage", usage),
                        SD_JSON_BUILD_PAIR_VARIANT("heaps", heaps));
}

int reply_json_clients(Accounting *accounting, const ClientRegistry *clients, sd_json_variant **ret) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *list = NULL;
        int r;

        r = sd_json_variant_new_array(&list, NULL, 0);
        if (r < 0)
                return r;

        for (const Client *client = clients->clients; client; client = client->next) {
                _cleanup_(sd_json_variant_unrefp) sd_json_variant *item = NULL;

                r = build_client(accounting, client, &item);
                if (r >= 0)
                        r = sd_json_variant_append_array(&list, item);
                if (r < 0)
                        return r;
        }

        return sd_json_buildo(ret, SD_JSON_BUILD_PAIR_VARIANT("clients", list));
}

int reply_json_live_buffers(Accounting *accounting, const char *unit, uint64_t uid, sd_json_variant **ret) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *list = NULL;
        Ledger *ledger = accounting_ledger(accounting);
        int r;

        r = sd_json_variant_new_array(&list, NULL, 0);
        if (r < 0)
                return r;

        for (size_t i = 0; i < ledger_n_records(ledger); i++) {
                const LedgerRecord *record = ledger_at(ledger, i);
                const Identity *owner = record->owner;

                if ((unit && !streq_ptr(unit, owner->unit)) || (uid != UINT64_MAX && uid != owner->uid))
                        continue;

                r = sd_json_variant_append_arraybo(&list,
                                SD_JSON_BUILD_PAIR_UNSIGNED("id", record->inode),
                                SD_JSON_BUILD_PAIR_UNSIGNED("size", record->size),
                                SD_JSON_BUILD_PAIR_STRING("heap", record->heap),
                                PAIR_STRING_OR_NULL("label", record->label),
                                PAIR_STRING_OR_NULL("unit", owner->unit),
                                SD_JSON_BUILD_PAIR_STRING("cgroup", owner->cgroup),
                                SD_JSON_BUILD_PAIR_UNSIGNED("uid", owner->uid),
                                SD_JSON_BUILD_PAIR_UNSIGNED("user", owner->user),
                                SD_JSON_BUILD_PAIR_UNSIGNED("allocatedUSec", record->allocated_usec));
                if (r < 0)
                        return r;
        }

        return sd_json_buildo(ret, SD_JSON_BUILD_PAIR_VARIANT("buffers", list));
}

int reply_json_buffers(const AllocateReply *reply, sd_json_variant **ret) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *list = NULL;

        for (size_t i = 0; i < reply->n_buffers; i++) {
                int r = sd_json_variant_append_arraybo(&list,
                                SD_JSON_BUILD_PAIR_UNSIGNED("fileDescriptor", i),
                                SD_JSON_BUILD_PAIR_UNSIGNED("id", reply->buffers[i].inode),
                                SD_JSON_BUILD_PAIR_UNSIGNED("size", reply->size));
                if (r < 0)
                        return r;
        }

        return sd_json_buildo(ret,
                        SD_JSON_BUILD_PAIR_STRING("heap", reply->heap),
                        SD_JSON_BUILD_PAIR_VARIANT("buffers", list));
}

static int build_refusal(const AccountingRefusal *refusal, sd_json_variant **ret) {
        static const char *const scopes[] = {
                [QUOTA_SCOPE_CLIENT] = "client",
                [QUOTA_SCOPE_USER] = "user",
                [QUOTA_SCOPE_HEAP] = "heap",
                [QUOTA_SCOPE_CGROUP] = "cgroup",
                [QUOTA_SCOPE_SYSTEM] = "system",
        };

        return sd_json_buildo(ret,
                        SD_JSON_BUILD_PAIR_STRING("scope", scopes[refusal->scope]),
                        SD_JSON_BUILD_PAIR_CONDITION(
                                        refusal->name[0] != 0, "name", SD_JSON_BUILD_STRING(refusal->name)),
                        SD_JSON_BUILD_PAIR_STRING(
                                        "resource", refusal->resource == QUOTA_RESOURCE_BYTES ? "bytes" : "buffers"),
                        SD_JSON_BUILD_PAIR_UNSIGNED("limit", refusal->limit),
                        SD_JSON_BUILD_PAIR_UNSIGNED("used", refusal->used),
                        SD_JSON_BUILD_PAIR_UNSIGNED("requested", refusal->requested));
}

static int build_error(const AllocateReply *reply, sd_json_variant **ret) {
        switch (reply->error) {
        case ALLOCATE_NO_SUCH_HEAP:
                return sd_json_buildo(ret,
                                PAIR_STRING_OR_NULL("heap", reply->heap),
                                PAIR_STRING_OR_NULL("role", reply->role));
        case ALLOCATE_HEAP_UNAVAILABLE:
                return sd_json_buildo(ret,
                                SD_JSON_BUILD_PAIR_STRING("heap", reply->heap),
                                SD_JSON_BUILD_PAIR_STRING("reason", reply->reason));
        case ALLOCATE_QUOTA_EXCEEDED:
                return build_refusal(reply->refusal, ret);
        case ALLOCATE_OUT_OF_RESOURCES:
                return sd_json_buildo(ret, SD_JSON_BUILD_PAIR_STRING("resource", reply->resource));
        default: /* OutOfMemory, TimedOut */
                return sd_json_buildo(ret, SD_JSON_BUILD_PAIR_STRING("heap", reply->heap));
        }
}

int reply_json_error(const AllocateReply *reply, const char **ret_error, sd_json_variant **ret) {
        static const char *const names[] = {
                [ALLOCATE_NO_SUCH_HEAP] = "io.dmaheapd.Allocator.NoSuchHeap",
                [ALLOCATE_HEAP_UNAVAILABLE] = "io.dmaheapd.Allocator.HeapUnavailable",
                [ALLOCATE_QUOTA_EXCEEDED] = "io.dmaheapd.Allocator.QuotaExceeded",
                [ALLOCATE_OUT_OF_MEMORY] = "io.dmaheapd.Allocator.OutOfMemory",
                [ALLOCATE_OUT_OF_RESOURCES] = "io.dmaheapd.Allocator.OutOfResources",
                [ALLOCATE_TIMED_OUT] = "io.dmaheapd.Allocator.TimedOut",
        };

        if (reply->error >= ELEMENTSOF(names) || !names[reply->error])
                return -EINVAL;

        int r = build_error(reply, ret);
        if (r < 0)
                return r;

        *ret_error = names[reply->error];
        return 0;
}
