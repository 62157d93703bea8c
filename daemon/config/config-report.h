/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Where the configuration's problems are reported to. */

#include "util/macro.h"

/* Called for each problem in the files. The setting that has the problem is ignored and its default holds. Of a
 * list, the other entries hold; an Allow list that keeps no entry lets nobody in.
 *
 * path: the file as it was opened. line: counted from 1, or 0 when the problem is the file as a whole. message:
 * one clause without a full stop. All are borrowed. */
typedef void (*config_problem_t)(const char *path, unsigned line, const char *message, void *userdata);

typedef struct ConfigReporter {
        config_problem_t on_problem; /* or NULL */
        void *userdata;
        const char *path;    /* the file that is being read; borrowed */
        unsigned n_problems; /* reported so far */
} ConfigReporter;

/* Counts a problem and passes it on to on_problem. */
void config_report(ConfigReporter *reporter, unsigned line, const char *format, ...) _printf_(3, 4);
