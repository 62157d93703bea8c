/* SPDX-License-Identifier: GPL-2.0-only */

/* What a census found. Its entries point to the names in its own table, so it is freed as one. */

#include "census-result.h"

CensusResult *census_result_free(CensusResult *result) {
        if (result) {
                free(result->entries);
                free(result->inodes);
                free(result->exporters);
        }
        free(result);
        return NULL;
}
