/* SPDX-License-Identifier: GPL-2.0-only */

/* census_parse_bufinfo() with any text. What it returns must be sorted, without duplicates and with names that end. */

#include "census/census-bufinfo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(census_result_freep) CensusResult *result = NULL;

        if (census_parse_bufinfo((const char *) data, size, &result) < 0)
                return 0;

        for (size_t i = 0; i < result->n_entries; i++)
                if (result->entries[i].inode != result->inodes[i] ||
                                (i > 0 && result->inodes[i] <= result->inodes[i - 1]) ||
                                strlen(result->entries[i].exporter) >= sizeof(result->exporters[0]))
                        abort();
        return 0;
}
