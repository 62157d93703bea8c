/* SPDX-License-Identifier: GPL-2.0-only */

/* Frees the result of a census. The invariant: its entries point to the
 * names in its own table, so they end together. */

#include "census/census-result.h"

CensusResult *census_result_free(CensusResult *result) {
        if (result) {
                free(result->entries);
                free(result->inodes);
                free(result->exporters);
        }
        free(result);
        return NULL;
}
