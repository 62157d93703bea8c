/* SPDX-License-Identifier: GPL-2.0-only */

/* Reports a problem of the configuration. Every problem is counted, whether or not somebody listens, so the count of
 * config_load() is right without a callback. */

#include <stdarg.h>
#include <stdio.h>

#include "config/config-report.h"

void config_report(ConfigReporter *reporter, unsigned line, const char *format, ...) {
        char message[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);

        reporter->n_problems++;
        if (reporter->on_problem)
                reporter->on_problem(reporter->path, line, message, reporter->userdata);
}
