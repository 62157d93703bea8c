/* SPDX-License-Identifier: MIT */
/*
 * The parameters of an Allocate call.
 *
 * Invariant: a field that the program left at zero is not sent, so that the daemon's default holds.
 */

#include "error.h"
#include "request.h"

int request_build(const DmaHeapRequest *request, sd_json_variant **ret, DmaHeapError **ret_error) {
        int r;

        if (!request)
                return -EINVAL;
        if ((request->flags & ~DMAHEAP_READ_ONLY) != 0 || request->reserved_1 != 0)
                return error_set(ret_error, DMAHEAP_INVALID_PARAMETER, -EINVAL, "unknown flags in the request");
        for (size_t i = 0; i < ELEMENTS_OF(request->reserved_2); i++)
                if (request->reserved_2[i] != 0)
                        return error_set(ret_error,
                                        DMAHEAP_INVALID_PARAMETER,
                                        -EINVAL,
                                        "unused fields of the request are not zero");

        r = sd_json_buildo(ret,
                        SD_JSON_BUILD_PAIR_CONDITION(!!request->heap, "heap", SD_JSON_BUILD_STRING(request->heap)),
                        SD_JSON_BUILD_PAIR_CONDITION(!!request->role, "role", SD_JSON_BUILD_STRING(request->role)),
                        SD_JSON_BUILD_PAIR_UNSIGNED("size", request->size),
                        SD_JSON_BUILD_PAIR_CONDITION(
                                        request->count != 0, "count", SD_JSON_BUILD_UNSIGNED(request->count)),
                        SD_JSON_BUILD_PAIR_CONDITION((request->flags & DMAHEAP_READ_ONLY) != 0,
                                        "access",
                                        SD_JSON_BUILD_STRING("readOnly")),
                        SD_JSON_BUILD_PAIR_CONDITION(!!request->label, "label", SD_JSON_BUILD_STRING(request->label)));
        if (r < 0 && r != -ENOMEM)
                return error_set(ret_error,
                                DMAHEAP_INVALID_PARAMETER,
                                -EINVAL,
                                "heap, role or label is not valid UTF-8");
        return r;
}
