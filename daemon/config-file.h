/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* One configuration file: its assignments, each with its line. What they mean is config.c's. */

#include "config.h"
#include "macro.h"

typedef struct ConfigAssignment {
        char *section;
        char *key;   /* "" for the line that begins the section */
        char *value; /* "" when there is none */
        unsigned line;
} ConfigAssignment;

typedef struct ConfigFile {
        ConfigAssignment *assignments; /* in the file's order; no assignment to one (section, key) is there twice */
        size_t n_assignments;
} ConfigFile;

ConfigFile *config_file_free(ConfigFile *file);
DEFINE_CLEANUP(ConfigFile, config_file_free);

/* Where to report to. n_problems is counted up by config_report(). */
typedef struct ConfigReporter {
        config_problem_t on_problem; /* or NULL */
        void *userdata;
        const char *path;
        unsigned n_problems;
} ConfigReporter;

void config_report(ConfigReporter *reporter, unsigned line, const char *format, ...) _printf_(3, 4);

/* Reads reporter->path and reports every line that is neither blank, comment, section nor assignment, and every key given
 * twice in one section (of which no value is taken).
 *
 * Returns 0, with an empty file for one that is empty, /dev/null, or was reported to be unreadable; -ENOENT when there is
 * no such file; -ENOMEM. */
int config_file_read(ConfigReporter *reporter, ConfigFile **ret);
