/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The values of the configuration: text to number. These functions ask nothing of the system. Those that return int
 * return 0, or -EINVAL with *ret untouched. */

#include "limits/policy.h"
#include "util/macro.h"

/* yes, true, on, 1, no, false, off, 0 */
int config_parse_boolean(const char *s, bool *ret);

/* A decimal number up to max. */
int config_parse_number(const char *s, uint64_t max, uint64_t *ret);

/* Bytes with K, M, G, T (powers of 1024), "25%", "12.5%" or "0.05%" up to 100 %, or "infinity". */
int config_parse_amount(const char *s, PolicyAmount *ret);

/* A time span as in systemd.time(7), of whole numbers: "30" (seconds), "500ms", "1min 30s", or "infinity"
 * (UINT64_MAX). */
int config_parse_usec(const char *s, uint64_t *ret);

/* Whether s has the characters, the length and the suffix of a unit that can have processes. */
bool config_unit_is_valid(const char *s);
