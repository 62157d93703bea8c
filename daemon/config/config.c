/* SPDX-License-Identifier: GPL-2.0-only */

/* The configuration as the daemon uses it. A Config is complete at any time: config_new() gives every setting its
 * default, and no two heaps, clients or roles in it have the same name. */

#include "config/config.h"
#include "util/strv.h"

static Role *role_free(Role *role) {
        if (!role)
                return NULL;

        free(role->name);
        strv_free(role->heaps);
        free(role);
        return NULL;
}
DEFINE_CLEANUP(Role, role_free);

static void policy_heap_done(PolicyHeap *heap) {
        free(heap->name);
        strv_free(heap->reserve_for);
        free(heap->allow_uids);
        free(heap->allow_gids);
        strv_free(heap->allow_units);
}

Config *config_free(Config *config) {
        if (!config)
                return NULL;

        for (size_t i = 0; i < config->policy.n_heaps; i++)
                policy_heap_done(&config->policy.heaps[i]);
        free(config->policy.heaps);

        for (size_t i = 0; i < config->policy.n_clients; i++)
                free(config->policy.clients[i].unit);
        free(config->policy.clients);

        for (Role *role = config->roles, *next; role; role = next) {
                next = role->next;
                role_free(role);
        }

        free(config);
        return NULL;
}

PolicyHeap *config_get_heap(Config *config, const char *name) {
        Policy *policy = &config->policy;

        for (size_t i = 0; i < policy->n_heaps; i++)
                if (streq(policy->heaps[i].name, name))
                        return &policy->heaps[i];

        PolicyHeap *larger = realloc(policy->heaps, (policy->n_heaps + 1) * sizeof(*larger));
        if (!larger)
                return NULL;
        policy->heaps = larger;

        PolicyHeap *heap = &larger[policy->n_heaps];
        *heap = (PolicyHeap) { .name = strdup(name) };
        if (!heap->name)
                return NULL;

        policy->n_heaps++;
        return heap;
}

PolicyClient *config_get_client(Config *config, const char *unit) {
        Policy *policy = &config->policy;

        for (size_t i = 0; i < policy->n_clients; i++)
                if (streq(policy->clients[i].unit, unit))
                        return &policy->clients[i];

        PolicyClient *larger = realloc(policy->clients, (policy->n_clients + 1) * sizeof(*larger));
        if (!larger)
                return NULL;
        policy->clients = larger;

        PolicyClient *client = &larger[policy->n_clients];
        *client = (PolicyClient) { .unit = strdup(unit) };
        if (!client->unit)
                return NULL;

        policy->n_clients++;
        return client;
}

Role *config_get_role(Config *config, const char *name) {
        static char *const no_heaps[] = { NULL };
        Role **end = &config->roles;

        for (; *end; end = &(*end)->next)
                if (streq((*end)->name, name))
                        return *end;

        _cleanup_(role_freep) Role *role = calloc(1, sizeof(*role));
        if (!role)
                return NULL;

        role->name = strdup(name);
        role->heaps = strv_copy(no_heaps);
        if (!role->name || !role->heaps)
                return NULL;

        *end = TAKE_PTR(role);
        return *end;
}

static int add_built_in_roles(Config *config) {
        static const struct {
                const char *name;
                const char *heaps[5];
                bool other_regions;
        } built_in[] = {
                { "system", { "system", "udmabuf" }, false },
                { "contiguous", { "default_cma_region", "linux,cma", "reserved", "default-pool" }, true },
                { "protected", { "protected*", "restricted*" }, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(built_in); i++) {
                Role *role = config_get_role(config, built_in[i].name);
                if (!role)
                        return -ENOMEM;

                strv_free(role->heaps);
                role->heaps = strv_copy((char *const *) built_in[i].heaps);
                role->other_regions = built_in[i].other_regions;
                if (!role->heaps)
                        return -ENOMEM;
        }

        return 0;
}

Config *config_new(void) {
        _cleanup_(config_freep) Config *config = malloc(sizeof(*config));
        if (!config)
                return NULL;

        *config = (Config) {
                .idle_timeout_usec = 30 * USEC_PER_SEC,
                .allocation_timeout_usec = 30 * USEC_PER_SEC,
                .connections_max = 512,
                .connections_per_user_max = 64,
                .policy = {
                        .enforce = true,
                        .client_bytes_max = { POLICY_AMOUNT_PERCENT, 2500 },
                        .client_buffers_max = { POLICY_AMOUNT_NUMBER, 1024 },
                        .user_bytes_max = { POLICY_AMOUNT_PERCENT, 5000 },
                        .system_bytes_max = { POLICY_AMOUNT_PERCENT, 7500 },
                        .keep_available = { POLICY_AMOUNT_PERCENT, 500 },
                },
        };

        if (add_built_in_roles(config) < 0)
                return NULL;

        return TAKE_PTR(config);
}
