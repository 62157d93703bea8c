/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* How a census is put together, and how it comes from the child that took it to the parent. */

#include "census.h"

/* One dma-buf of a census under way. */
typedef struct CensusItem {
        uint64_t inode;
        uint64_t size;
        uint64_t exporter; /* index */
} CensusItem;

/* All zeroes is empty. */
typedef struct CensusBuilder {
        CensusItem *items;
        size_t n_items;
        size_t n_items_allocated;
        char (*exporters)[CENSUS_EXPORTER_SIZE];
        size_t n_exporters;
} CensusBuilder;

void census_builder_done(CensusBuilder *builder);

/* exporter: length bytes; what is too long for the table is cut. -ENOMEM. */
int census_builder_add(CensusBuilder *builder, uint64_t inode, uint64_t size, const char *exporter, size_t length);

/* Sorts, and drops what is there twice. */
void census_builder_sort(CensusBuilder *builder);

/* Makes the result out of a sorted builder, which is left without its exporters. -ENOMEM. */
int census_builder_finish(CensusBuilder *builder, CensusResult **ret);

/* Adds everything in the text of bufinfo; see census_parse_bufinfo(). */
int census_builder_add_bufinfo(CensusBuilder *builder, const char *text, size_t size);

/* Writes a sorted builder, or the negative errno value that it came to instead, to a file; and reads it. The reader returns
 * that value, or -EIO when the file is not whole. */
int census_builder_write(const CensusBuilder *builder, int error, int fd);
int census_builder_read(CensusBuilder *builder, int fd);
