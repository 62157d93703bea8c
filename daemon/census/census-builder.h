/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "census/census-result.h"

/* One dma-buf of a census that is being taken. */
typedef struct CensusItem {
        uint64_t inode;
        uint64_t size;     /* bytes */
        uint64_t exporter; /* index into the builder's exporters */
} CensusItem;

/* A census that is being taken: what was found so far. All zeroes is empty. */
typedef struct CensusBuilder {
        CensusItem *items;
        size_t n_items;
        size_t n_items_allocated;
        char (*exporters)[CENSUS_EXPORTER_SIZE];
        size_t n_exporters;
} CensusBuilder;

/* Frees what the builder holds, and leaves it empty. */
void census_builder_done(CensusBuilder *builder);

/* Adds one dma-buf. exporter: `length` bytes without a NUL, cut to CENSUS_EXPORTER_SIZE - 1. Returns 0, or -ENOMEM. */
int census_builder_add(CensusBuilder *builder, uint64_t inode, uint64_t size, const char *exporter, size_t length);

/* Sorts the items by inode, and keeps one of each inode. */
void census_builder_sort(CensusBuilder *builder);

/* Makes the result of a sorted builder, and takes its exporters away from it. Returns 0, or -ENOMEM. */
int census_builder_finish(CensusBuilder *builder, CensusResult **ret);

/* Writes a sorted builder to a file, or if `error` is negative only that. Returns 0, or -errno. */
int census_builder_write(const CensusBuilder *builder, int error, int fd);

/* Reads what census_builder_write() wrote into an empty builder. Returns 0; the error that was written; -EIO or
 * -ENODATA when the file is not whole; -ENOMEM; or -errno. */
int census_builder_read(CensusBuilder *builder, int fd);
