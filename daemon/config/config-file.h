/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* One configuration file as a list of assignments, each with its line. config-keys.h knows what they mean. */

#include "config/config-report.h"
#include "util/macro.h"

typedef struct ConfigAssignment {
        char *section; /* owned by the line that begins the section, borrowed by the assignments in it */
        char *key;     /* "" for the line that begins the section */
        char *value;   /* "" when there is none */
        unsigned line;
} ConfigAssignment;

typedef struct ConfigFile {
        ConfigAssignment *assignments; /* in the order of the file; no (section, key) occurs twice */
        size_t n_assignments;
} ConfigFile;

ConfigFile *config_file_free(ConfigFile *file);
DEFINE_CLEANUP(ConfigFile, config_file_free);

/* Reads reporter->path. A file has sections, "Key=Value" lines, blank lines, and comments that begin with '#' or
 * ';', on lines of their own or after something else. Every other line is reported. A value may stand in double
 * quotes, which protect blanks at its ends and comment characters; there are no escapes, and no line continues on
 * the next. A key given twice in one section is reported, and none of its values is taken.
 *
 * Returns 0, with an empty file for one that is empty, /dev/null, or was reported to be unreadable; -ENOENT when
 * there is no such file; -ENOMEM. */
int config_file_read(ConfigReporter *reporter, ConfigFile **ret);
