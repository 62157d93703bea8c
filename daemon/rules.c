/* SPDX-License-Identifier: GPL-2.0-only */

#include "rules.h"

#define NAMES_MAX 16U

/* The names by which rules may speak of a heap: all that draw from its region. */
static size_t target_names(const Rules *rules, const char *heap, const char *names[static NAMES_MAX]) {
        const Region *region = heap_registry_region_of(rules->heaps, heap);
        size_t n = 0;

        names[n++] = heap;
        for (const Heap *other = rules->heaps->heaps; region && other && n < NAMES_MAX; other = other->next)
                if (!streq(other->name, heap) && heap_registry_region_of(rules->heaps, other->name) == region)
                        names[n++] = other->name;

        return n;
}

bool rules_may_use(const Rules *rules, const Peer *peer, const char *heap) {
        const char *names[NAMES_MAX];
        PolicyTarget target = { .names = names, .n_names = target_names(rules, heap, names) };
        PolicySubject subject = {
                .unit = peer->unit,
                .unit_is_user = peer->user_unit,
                .uid = peer->uid,
                .gids = peer->groups,
                .n_gids = peer->n_groups,
        };

        return policy_may_use(&(*rules->config)->policy, &subject, &target);
}

void rules_limits(const Rules *rules, const Client *client, const Peer *peer, const char *heap, PolicyLimits *ret) {
        const char *names[NAMES_MAX];
        PolicyTarget target = { .names = names };
        PolicySubject subject = {
                .unit = client->unit,
                .unit_is_user = client->user_unit,
                .uid = client->uid,
                .gids = peer ? peer->groups : NULL,
                .n_gids = peer ? peer->n_groups : 0,
        };

        if (heap) {
                const Region *region = heap_registry_region_of(rules->heaps, heap);

                target.n_names = target_names(rules, heap, names);
                target.size = region ? region->size : 0;
        }

        policy_limits(&(*rules->config)->policy, &subject, heap ? &target : NULL, rules->ram, ret);
}
