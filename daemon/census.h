/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Which dma-bufs the kernel still holds. census.c opens with the idea. */

#include "heap-name.h"
#include "macro.h"

typedef enum CensusMethod {
        CENSUS_METHOD_NONE,
        CENSUS_METHOD_BPF,     /* iter/dmabuf, Linux 6.16 */
        CENSUS_METHOD_DEBUGFS, /* /sys/kernel/debug/dma_buf/bufinfo */
} CensusMethod;

/* Room for an exporter's name with its NUL. A longer one is cut: it is no heap that a client can name. */
#define CENSUS_EXPORTER_SIZE 72U
_Static_assert(CENSUS_EXPORTER_SIZE > HEAP_NAME_MAX, "the name of a heap that a client can name is never cut");

/* One dma-buf. exporter is its exp_name: for a buffer of a dma-buf heap, the heap's name. */
typedef struct CensusEntry {
        uint64_t inode;
        uint64_t size;
        const char *exporter; /* owned by the CensusResult */
} CensusEntry;

/* Everything one census found: every dma-buf that existed when it began and was not freed before it got there. Those made
 * since are not to be expected in it. */
typedef struct CensusResult {
        CensusEntry *entries; /* ascending by inode, none twice */
        uint64_t *inodes;     /* the same inodes alone, for ledger_retire() */
        size_t n_entries;
        char (*exporters)[CENSUS_EXPORTER_SIZE];
} CensusResult;

CensusResult *census_result_free(CensusResult *result);
static inline void census_result_freep(CensusResult **result) {
        census_result_free(*result);
}

typedef struct Census Census;
typedef struct CensusRun CensusRun;

/* Finds out how this kernel can be asked, and prepares it; blocks for some tenths of a second when a BPF program has to be
 * verified. What is kept is one fd and a few bytes.
 *
 * Succeeds without any method: then census_method() is CENSUS_METHOD_NONE, census_reason() says why, and census_start()
 * fails. Returns 0, -ENOMEM. */
int census_new(Census **ret);

/* No run may be left. */
Census *census_free(Census *census);
static inline void census_freep(Census **census) {
        census_free(*census);
}

CensusMethod census_method(const Census *census);
const char *census_method_to_string(CensusMethod method); /* "none", "bpf", "debugfs" */

/* With no method: why each cannot be had, for people. With debugfs: why not BPF, or NULL. With BPF: NULL. */
const char *census_reason(const Census *census);

/* Begins a census in a child process, so that nothing here waits for the kernel's locks.
 *
 * Take ledger_sequence() before. Several runs may be under way.
 * Returns 0, -EOPNOTSUPP without a method, or -errno. */
int census_start(Census *census, CensusRun **ret);

/* A pidfd that becomes readable when the run is over: for sd_event_add_io(EPOLLIN). Stays the run's. */
int census_run_fd(const CensusRun *run);

/* Collects what a run found and frees the run, whatever is returned. Call it when the fd has become readable; called
 * before, it waits.
 *
 * Returns 0 with *ret set to a complete census; -ECANCELED when the child was killed; else -errno of what went wrong
 * in it. A census with anything doubtful in it fails: an incomplete one must retire nothing. */
int census_finish(CensusRun *run, CensusResult **ret);

/* Kills a run that takes too long. Its fd becomes readable soon (when the kernel lets go of the child); then
 * census_finish() is still due, and fails. */
void census_run_kill(CensusRun *run);

/* census_start() and census_finish() in one: for the start, where waiting is no harm. */
int census_take(Census *census, CensusResult **ret);

/* Reads the text of bufinfo; exported for tests. A line is believed only if it has all columns of their full width, which
 * no name of a dma-buf can fake, and the text only if its last line counts as many buffers as were found.
 * Returns 0, -EBADMSG, -ENOMEM. */
int census_parse_bufinfo(const char *text, size_t size, CensusResult **ret);
