/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Which dma-bufs the kernel still holds. census.c opens with the idea. */

#include "census/census-result.h"
#include "util/child.h"

typedef enum CensusMethod {
        CENSUS_METHOD_NONE,
        CENSUS_METHOD_BPF,     /* iter/dmabuf, Linux 6.16 */
        CENSUS_METHOD_DEBUGFS, /* /sys/kernel/debug/dma_buf/bufinfo */
} CensusMethod;

typedef struct Census Census;

/* Finds out how this kernel can be asked, and prepares for it. Blocks for some tenths of a second while the kernel
 * verifies a BPF program. What is kept is one fd and a few bytes.
 *
 * Succeeds without any method, too: then census_method() is CENSUS_METHOD_NONE, census_reason() says why, and
 * census_start() fails. Returns 0, -ENOMEM. */
int census_new(Census **ret);
Census *census_free(Census *census);
DEFINE_CLEANUP(Census, census_free);

CensusMethod census_method(const Census *census);
const char *census_method_to_string(CensusMethod method); /* "none", "bpf", "debugfs" */

/* For people: why the methods that come before census_method() cannot be used, and without a method why none can. NULL
 * with CENSUS_METHOD_BPF. Owned by the census. */
const char *census_reason(const Census *census);

/* Begins a census in a child process, so that nothing here waits for the kernel's locks.
 *
 * Call ledger_sequence() before: records made later are not expected in the result. Several censuses may be under way.
 * Watch child_pidfd(), then call census_finish(); call child_kill() if it takes too long, or child_free() to give it
 * up. Returns 0, -EOPNOTSUPP without a method, or -errno. */
int census_start(Census *census, Child **ret);

/* Collects what a census found. Frees `run`, whatever is returned. Waits if the child has not ended yet.
 *
 * Returns 0 with *ret set to a complete census; -ECANCELED when the child was killed; else -errno of what went wrong in
 * it. A census with anything doubtful in it fails: an incomplete one must not end any record. */
int census_finish(Child *run, CensusResult **ret);

/* census_start() and census_finish() in one, which waits: for the start of the daemon. */
int census_take(Census *census, CensusResult **ret);
