/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Which configuration files are read, and in which order. */

#include "config/config-report.h"
#include "config/config.h"

/* Reads dmaheapd/dmaheapd.conf and the files *.conf of dmaheapd/dmaheapd.conf.d below etc, run, usr/local/lib and
 * usr/lib, as the UAPI group's configuration files specification says: the first main file that exists, then the
 * drop-ins of all directories ordered by their names. Of two drop-ins with the same name, the one in the directory
 * named first counts, so an empty file or a link to /dev/null masks those after it.
 *
 * root: the directory to start from, NULL for "/". on_problem may be NULL.
 * Users and groups are looked up (NSS), so this may block for a moment: call it at start and on reload.
 * Returns the number of problems reported, or -ENOMEM. *ret is set unless the return value is negative; without any
 * file it holds the defaults. */
int config_load(const char *root, config_problem_t on_problem, void *userdata, Config **ret);

/* Checks one file by itself, with the same returns, for --check-config FILE. A file that cannot be read is a
 * problem. */
int config_check_file(const char *path, config_problem_t on_problem, void *userdata);
