/* SPDX-License-Identifier: GPL-2.0-only */

/* Logs to standard error, which is the journal where systemd starts the daemon. The invariant: one call makes at most
 * one line, whatever text of a client or a file is part of it. */

#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "util/log.h"

static int log_max_level = LOG_INFO;
static bool log_to_journal = false;

static const char *const level_names[] = { "emerg", "alert", "crit", "err", "warning", "notice", "info", "debug" };

void log_setup(void) {
        const char *level = getenv("DMAHEAPD_LOG_LEVEL");
        if (level)
                for (size_t i = 0; i < ELEMENTSOF(level_names); i++)
                        if (streq(level, level_names[i]) || (level[0] == '0' + (char) i && level[1] == 0))
                                log_max_level = i;

        /* systemd.exec(5): $JOURNAL_STREAM names device and inode of the stream that is connected to the journal. */
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;
        if (stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 && fstat(STDERR_FILENO, &st) >= 0)
                log_to_journal = st.st_dev == device && st.st_ino == inode;
}

int log_internal(int level, int error, const char *format, ...) {
        int saved_errno = errno;

        error = abs(error);

        if (level <= log_max_level) {
                char line[2048];
                va_list ap;

                errno = error;
                va_start(ap, format);
                (void) vsnprintf(line, sizeof(line), format, ap);
                va_end(ap);

                /* A control character in quoted text must not begin another line. */
                for (char *p = line; *p; p++)
                        if ((unsigned char) *p < ' ')
                                *p = '?';

                if (log_to_journal)
                        (void) dprintf(STDERR_FILENO, "<%d>%s\n", level, line);
                else
                        (void) dprintf(STDERR_FILENO, "%s\n", line);
        }

        errno = saved_errno;
        return -error;
}
