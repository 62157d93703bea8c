/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "census/census-builder.h"

/* The text of /sys/kernel/debug/dma_buf/bufinfo; the functions are exported for tests.
 *
 * A line is believed only if it has all columns in their full width, which no name of a dma-buf can fake, and the text
 * only if its last line counts as many buffers and bytes as were found. text: size bytes, without a NUL. Return 0,
 * -EBADMSG, or -ENOMEM. */
int census_builder_add_bufinfo(CensusBuilder *builder, const char *text, size_t size);
int census_parse_bufinfo(const char *text, size_t size, CensusResult **ret);
