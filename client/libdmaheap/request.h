/* SPDX-License-Identifier: MIT */
/* The parameters of an Allocate call. */
#pragma once

#include <systemd/sd-json.h>

#include "dmaheap.h"

/* Turns a request into the call's parameters. Only flags, the unused fields and the encoding of strings are checked
 * here; the daemon checks the rest.
 *
 * Returns 0, and the caller unrefs *ret; -EINVAL with an error as in error.h, without one if request is NULL;
 * -ENOMEM. */
int request_build(const DmaHeapRequest *request, sd_json_variant **ret, DmaHeapError **ret_error);
