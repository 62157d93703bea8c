/* SPDX-License-Identifier: GPL-2.0-only */

/* Stands in for census-bpf.c in a build without libbpf, clang or
 * bpftool. The invariant: this source is never chosen. */

#include "census/census-source.h"

static int missing_open(int *ret_fd _unused_, char **ret_reason) {
        char *reason = strdup("BPF: not built in");
        if (!reason)
                return -ENOMEM;

        *ret_reason = reason;
        return 0;
}

static int missing_read(int fd _unused_, CensusBuilder *builder _unused_) {
        return -EOPNOTSUPP;
}

const CensusSource census_bpf = { .open = missing_open, .read = missing_read };
