/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "census/census-builder.h"

/* One way to ask the kernel which dma-bufs there are. */
typedef struct CensusSource {
        /* Finds out whether this kernel can be asked this way. May block for some tenths of a second.
         *
         * Returns 1 if so, with *ret_fd set to what `read` needs if it needs anything; 0 if not, with *ret_reason set
         * to why, for people, which is the caller's to free; or -ENOMEM. */
        int (*open)(int *ret_fd, char **ret_reason);

        /* In a child process: adds every dma-buf to the builder. fd: from `open`, or -EBADF. Returns 0, or -errno: then
         * the census is not complete and must not be used. */
        int (*read)(int fd, CensusBuilder *builder);
} CensusSource;

extern const CensusSource census_bpf;     /* census-bpf.c; census-bpf-missing.c where it is not built in */
extern const CensusSource census_bufinfo; /* census-bufinfo.c */
