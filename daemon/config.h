/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The configuration files, read and checked. What the build decided is in build-config.h, which is another thing. */

#include "config-report.h"
#include "heap.h"
#include "macro.h"
#include "policy.h"

typedef struct Config {
        /* [Daemon] */
        uint64_t idle_timeout_usec;       /* UINT64_MAX: never */
        uint64_t allocation_timeout_usec; /* UINT64_MAX: never; not 0 */
        unsigned connections_max;
        unsigned connections_per_user_max;

        /* [Limits], [Heap …], [Client …] */
        Policy policy;

        /* [Role …]: the built-in ones, as they are or as configured, and then those that the files add. Only the built-in
         * `contiguous` has other_regions. */
        Role *roles;
} Config;

/* Reads dmaheapd/dmaheapd.conf and dmaheapd/dmaheapd.conf.d/.conf files below etc, run, usr/local/lib and usr/lib, by the UAPI
 * group's configuration files specification: the first main file there is, then the drop-ins ordered by their names,
 * where of equal names the first one found counts; an empty file or a link to /dev/null masks those after it.
 *
 * root: the directory to start from, NULL for "/". on_problem may be NULL.
 * Users and groups are looked up (NSS), so this may block for a moment: call it at start and on reload.
 * Returns the number of problems reported, 0 for none, or -ENOMEM; *ret is set unless negative. Without any file it holds
 * the defaults. */
int config_load(const char *root, config_problem_t on_problem, void *userdata, Config **ret);

/* Checks one file by itself, with the same returns, for --check-config FILE. A file that cannot be read is a problem. */
int config_check_file(const char *path, config_problem_t on_problem, void *userdata);

/* The defaults alone. NULL when out of memory. */
Config *config_new(void);

Config *config_free(Config *config);
static inline void config_freep(Config **config) {
        config_free(*config);
}
