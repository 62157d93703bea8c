/* SPDX-License-Identifier: GPL-2.0-only */

/* Between the accounting, which knows clients and heaps, and policy.c, which knows neither: finds the facts that a
 * rule is about, and asks. It keeps a pointer to the manager's pointer, so every answer is that of the configuration in
 * force, also after a reload. */

#include "accounting/rules.h"

/* The most names of one region that rules are looked up by. */
#define NAMES_MAX 16U

/* A rule for any heap of a region binds all of them, so these names are looked at together. */
static size_t target_names(const Rules *rules, const Heap *heap, const char *names[static NAMES_MAX]) {
        size_t n = 0;

        names[n++] = heap->name;
        for (const Heap *other = rules->heaps->heaps; heap->region && other && n < NAMES_MAX; other = other->next)
                if (other != heap && other->region == heap->region)
                        names[n++] = other->name;

        return n;
}

bool rules_may_use(const Rules *rules, const Peer *peer, const Heap *heap) {
        const char *names[NAMES_MAX];
        PolicyTarget target = { .names = names, .n_names = target_names(rules, heap, names) };
        PolicySubject subject = {
                .identity = &peer->identity,
                .gids = peer->groups,
                .n_gids = peer->n_groups,
        };

        return policy_may_use(&(*rules->config)->policy, &subject, &target);
}

void rules_limits(const Rules *rules, const Client *client, const Heap *heap, PolicyLimits *ret) {
        const char *names[NAMES_MAX];
        PolicyTarget target = { .names = names };

        if (heap) {
                target.n_names = target_names(rules, heap, names);
                target.size = heap_size_max(heap);
        }

        policy_limits(&(*rules->config)->policy, &client->identity, heap ? &target : NULL, rules->ram, ret);
}
