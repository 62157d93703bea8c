/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* What the sections and keys of the configuration mean. */

#include "config/config-file.h"
#include "config/config.h"

/* Applies one assignment to a Config, or reports why it cannot be applied and leaves the Config alone. A list keeps its
 * valid words and reports the others. Returns 0 or -ENOMEM. */
int config_apply(Config *config, ConfigReporter *reporter, const ConfigAssignment *assignment);
