/* SPDX-License-Identifier: GPL-2.0-only */

/* Checks the parameters of an Allocate call. Invariant: parameters that pass are within every limit of the interface,
 * so that the request need not check them. */

#include "util/buffer-limits.h"
#include "varlink/allocate-parameters.h"

static bool label_is_valid(const char *label) {
        size_t n = strlen(label);

        for (const char *p = label; *p; p++)
                if (*p < ' ' || *p > '~')
                        return false;

        return n >= 1 && n <= BUFFER_LABEL_MAX;
}

const char *allocate_parameters_check(const AllocateParameters *parameters) {
        const char *heap = parameters->heap, *role = parameters->role;

        if (heap && !heap_name_is_valid(heap))
                return "heap";
        if (role && (heap || !heap_name_is_valid(role)))
                return "role";
        if (parameters->size < 1 || parameters->size > BUFFER_SIZE_MAX)
                return "size";
        if (parameters->n_buffers < 1 || parameters->n_buffers > BUFFERS_MAX)
                return "count";
        if (parameters->label && !label_is_valid(parameters->label))
                return "label";
        return NULL;
}
