/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "util/heap-name.h"
#include "util/macro.h"

/* Room for an exporter's name with its NUL. A longer one is cut; it is
 * not the name of a heap that a client can ask for. */
#define CENSUS_EXPORTER_SIZE 72U
_Static_assert(CENSUS_EXPORTER_SIZE > HEAP_NAME_MAX, "the name of a heap that a client can name is never cut");

/* One dma-buf. exporter is its exp_name: for a buffer of a dma-buf heap, the heap's name. */
typedef struct CensusEntry {
        uint64_t inode;
        uint64_t size;
        const char *exporter; /* owned by the CensusResult */
} CensusEntry;

/* What one census found: every dma-buf that existed when it began, unless it was freed before the census got there. It
 * may lack those made since it began. */
typedef struct CensusResult {
        CensusEntry *entries; /* ascending by inode, none twice */
        uint64_t *inodes;     /* the same inodes alone, for ledger_retire() */
        size_t n_entries;
        char (*exporters)[CENSUS_EXPORTER_SIZE];
} CensusResult;

CensusResult *census_result_free(CensusResult *result);
DEFINE_CLEANUP(CensusResult, census_result_free);
