/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* What the sections and keys of the configuration mean. Between config.c and config-keys.c only. */

#include "config-file.h"
#include "config.h"

/* Applies one assignment to a Config, or reports why it cannot be and leaves the Config alone. Returns 0 or -ENOMEM. */
int config_apply(Config *config, ConfigReporter *reporter, const ConfigAssignment *assignment);

/* Finds what is configured under a name, or adds it with nothing set. NULL when out of memory; a pointer holds until the
 * next is added. */
PolicyHeap *config_get_heap(Config *config, const char *name);
PolicyClient *config_get_client(Config *config, const char *unit);
Role *config_get_role(Config *config, const char *name);
