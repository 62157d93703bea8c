/* SPDX-License-Identifier: GPL-2.0-only */

/* Reads the kernel's limit on a buffer of udmabuf. Invariant: a buffer is refused only if the kernel surely would
 * refuse it; where the parameter cannot be read or means no limit, the kernel is asked. */

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "heap/heap-udmabuf.h"
#include "util/fd-util.h"

bool heap_udmabuf_refuses(const char *sysfs, uint64_t size, char ret_reason[static UDMABUF_REASON_LENGTH]) {
        char path[PATH_MAX];
        uint64_t limit_mb;

        if ((size_t) snprintf(path, sizeof(path), "%s/module/udmabuf/parameters/size_limit_mb", sysfs) >=
                                        sizeof(path) ||
                        read_u64_at(AT_FDCWD, path, &limit_mb) < 0)
                return false;

        if (limit_mb >= UINT64_MAX >> 20 || size <= limit_mb << 20)
                return false;

        (void) snprintf(ret_reason,
                        UDMABUF_REASON_LENGTH,
                        "a buffer of udmabuf is at most %" PRIu64
                        " MiB here (the kernel's parameter udmabuf.size_limit_mb)",
                        limit_mb);
        return true;
}
