/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The configuration as the daemon uses it, and its defaults. config-load.h fills it from the files. build-config.h is
 * something else: what the build decided. */

#include "heap/heap.h"
#include "limits/policy.h"
#include "util/macro.h"

typedef struct Config {
        /* [Daemon] */
        uint64_t idle_timeout_usec;       /* UINT64_MAX: never */
        uint64_t allocation_timeout_usec; /* UINT64_MAX: never; not 0 */
        unsigned connections_max;
        unsigned connections_per_user_max;

        /* [Limits], [Heap …], [Client …] */
        Policy policy;

        /* [Role …]: the built-in ones, as they are or as configured, and then those that the files add. Only the
         * built-in `contiguous` has other_regions. */
        Role *roles;
} Config;

/* The defaults. NULL when out of memory. */
Config *config_new(void);

Config *config_free(Config *config);
DEFINE_CLEANUP(Config, config_free);

/* Finds the rules for a heap or a unit, or a role, or adds one with nothing set. NULL when out of memory. A
 * PolicyHeap or PolicyClient stays where it is until the next one is added, a Role as long as the Config. */
PolicyHeap *config_get_heap(Config *config, const char *name);
PolicyClient *config_get_client(Config *config, const char *unit);
Role *config_get_role(Config *config, const char *name);
