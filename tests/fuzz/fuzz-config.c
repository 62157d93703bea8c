/* SPDX-License-Identifier: GPL-2.0-only */

/* One configuration file of any contents: read, checked, applied. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "config-load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_problem(const char *path, unsigned line, const char *message, void *userdata) {
        size_t *sum = userdata;

        *sum += strlen(path) + strlen(message) + line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static int fd = -1;
        char path[64];
        size_t sum = 0;

        if (fd < 0)
                fd = memfd_create("fuzz", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, 0) < 0 || pwrite(fd, data, size, 0) != (ssize_t) size)
                abort();

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        int r = config_check_file(path, on_problem, &sum);
        if (r < 0 || (r == 0) != (sum == 0))
                abort();
        return 0;
}
