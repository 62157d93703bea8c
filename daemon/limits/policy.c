/* SPDX-License-Identifier: GPL-2.0-only */

/* The rules of the configuration, applied to one client and one heap. All functions are pure: the same rules and
 * facts always give the same answer, so that reserve, adopt and reload agree on who has a part in a reserve. */

#include <string.h>

#include "limits/policy.h"

/* The default ClientBytesMax= of a heap with a region: half of it. */
static const PolicyAmount heap_client_bytes_max_bounded = { POLICY_AMOUNT_PERCENT, 5000 };

uint64_t policy_amount_resolve(PolicyAmount amount, uint64_t whole, uint64_t otherwise) {
        switch (amount.kind) {

        case POLICY_AMOUNT_NUMBER:
                return amount.value;

        case POLICY_AMOUNT_PERCENT:
                /* whole × value may pass 2^64, so the quotient and the remainder are multiplied separately. */
                return whole / 10000 * amount.value + whole % 10000 * amount.value / 10000;

        case POLICY_AMOUNT_UNSET:
                break;
        }

        return otherwise;
}

static bool list_contains(char *const *list, const char *s) {
        for (; list && *list; list++)
                if (strcmp(*list, s) == 0)
                        return true;

        return false;
}

/* The unit that rules may name. A user's manager names its units as the user likes, so those match no rule. */
static const char *system_unit(const Identity *identity) {
        return identity->unit_is_user ? NULL : identity->unit;
}

static bool unit_is_listed(const Identity *identity, char *const *units) {
        const char *unit = system_unit(identity);

        return unit && list_contains(units, unit);
}

static const PolicyHeap *find_heap(const Policy *policy, const char *name) {
        for (size_t i = 0; i < policy->n_heaps; i++)
                if (strcmp(policy->heaps[i].name, name) == 0)
                        return &policy->heaps[i];

        return NULL;
}

static const PolicyClient *find_client(const Policy *policy, const Identity *identity) {
        const char *unit = system_unit(identity);

        for (size_t i = 0; unit && i < policy->n_clients; i++)
                if (strcmp(policy->clients[i].unit, unit) == 0)
                        return &policy->clients[i];

        return NULL;
}

static bool heap_lets_in(const PolicyHeap *heap, const PolicySubject *subject) {
        if (!heap->restricted)
                return true;

        for (size_t i = 0; i < heap->n_allow_uids; i++)
                if (heap->allow_uids[i] == subject->identity->uid)
                        return true;

        for (size_t i = 0; i < heap->n_allow_gids; i++)
                for (size_t j = 0; j < subject->n_gids; j++)
                        if (heap->allow_gids[i] == subject->gids[j])
                                return true;

        return unit_is_listed(subject->identity, heap->allow_units);
}

bool policy_may_use(const Policy *policy, const PolicySubject *subject, const PolicyTarget *target) {
        for (size_t i = 0; i < target->n_names; i++) {
                const PolicyHeap *heap = find_heap(policy, target->names[i]);

                if (heap && !heap_lets_in(heap, subject))
                        return false;
        }

        return true;
}

static uint64_t min_u64(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

/* Combines the rules for all names of the target. */
static void target_limits(const Policy *policy, const Identity *identity, const PolicyTarget *target, uint64_t ram,
                PolicyLimits *limits) {

        bool bounded = target->size > 0;
        uint64_t whole = bounded ? target->size : ram, client_bytes = LIMIT_INFINITY, reserve = 0;
        bool has_rule = false;

        for (size_t i = 0; i < target->n_names; i++) {
                const PolicyHeap *heap = find_heap(policy, target->names[i]);
                if (!heap)
                        continue;

                if (heap->client_bytes_max.kind != POLICY_AMOUNT_UNSET) {
                        has_rule = true;
                        client_bytes = min_u64(client_bytes,
                                        policy_amount_resolve(heap->client_bytes_max, whole, LIMIT_INFINITY));
                }

                uint64_t r = bounded ? policy_amount_resolve(heap->reserve_bytes, whole, 0) : 0;
                if (r > reserve)
                        reserve = r;

                if (bounded && unit_is_listed(identity, heap->reserve_for))
                        limits->heap_has_reserve = true;
        }

        if (!has_rule && bounded)
                client_bytes = policy_amount_resolve(heap_client_bytes_max_bounded, whole, LIMIT_INFINITY);

        if (bounded) {
                reserve = min_u64(reserve, target->size);
                limits->heap_bytes = target->size;
                if (!limits->heap_has_reserve)
                        limits->heap_others_bytes = target->size - reserve;
        }

        if (limits->heap_has_reserve && client_bytes < reserve)
                client_bytes = reserve;
        limits->heap_client_bytes = client_bytes;
}

void policy_limits(const Policy *policy, const Identity *identity, const PolicyTarget *target, uint64_t ram,
                PolicyLimits *ret) {

        PolicyLimits limits = {
                .client_bytes = LIMIT_INFINITY,
                .client_buffers = LIMIT_INFINITY,
                .user_bytes = LIMIT_INFINITY,
                .system_bytes = LIMIT_INFINITY,
                .heap_client_bytes = LIMIT_INFINITY,
                .heap_bytes = LIMIT_INFINITY,
                .heap_others_bytes = LIMIT_INFINITY,
        };

        if (target)
                target_limits(policy, identity, target, ram, &limits);

        if (!policy->enforce) {
                limits.heap_client_bytes = limits.heap_bytes = limits.heap_others_bytes = LIMIT_INFINITY;
                *ret = limits;
                return;
        }

        limits.client_bytes = policy_amount_resolve(policy->client_bytes_max, ram, LIMIT_INFINITY);
        limits.client_buffers = policy_amount_resolve(policy->client_buffers_max, ram, LIMIT_INFINITY);
        limits.user_bytes = policy_amount_resolve(policy->user_bytes_max, ram, LIMIT_INFINITY);
        limits.system_bytes = policy_amount_resolve(policy->system_bytes_max, ram, LIMIT_INFINITY);
        limits.keep_available = policy_amount_resolve(policy->keep_available, ram, 0);

        const PolicyClient *client = find_client(policy, identity);
        if (client) {
                limits.client_bytes = policy_amount_resolve(client->bytes_max, ram, limits.client_bytes);
                limits.client_buffers = policy_amount_resolve(client->buffers_max, ram, limits.client_buffers);
        }

        *ret = limits;
}
