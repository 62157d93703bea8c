/* SPDX-License-Identifier: MIT */
/* Why a call failed: DmaHeapError, and the negative errno that belongs to each cause. */
#pragma once

#include <systemd/sd-json.h>

#include "arena.h"
#include "dmaheap.h"

struct DmaHeapError {
        Arena arena; /* owns the strings below and quota.name */
        DmaHeapReason reason;
        int error; /* negative errno */
        const char *name;
        const char *message;
        const char *heap;
        const char *role;
        const char *detail;
        DmaHeapQuota quota;
};

/* Each function below returns a negative errno, always the same for the same cause. It stores a new error in
 * *ret_error, for dmaheap_error_free(), unless ret_error is NULL or memory is short; then *ret_error is untouched. */

/* For an error that the daemon sent. name: its full varlink name. parameters: its fields, or NULL. An unknown name
 * gives -EREMOTEIO. */
int error_from_varlink(const char *name, sd_json_variant *parameters, DmaHeapError **ret_error);

/* For a failure in this process. error: the negative errno to return. The formatted text becomes message and detail. */
int error_set(DmaHeapError **ret_error, DmaHeapReason reason, int error, const char *format, ...) PRINTF_LIKE(4, 5);

/* For a failed sd_varlink function, or a local error that one reported. r: its negative errno. what: the call it was
 * needed for, named in the message. -ENOMEM and -EMFILE store no error. */
int error_from_link(int r, const char *what, DmaHeapError **ret_error);
