/* SPDX-License-Identifier: MIT */
/* The methods of the daemon that the library calls. */
#pragma once

/* The varlink interface. Errors are named after it, too. */
#define INTERFACE "io.dmaheapd.Allocator"

typedef enum Method {
        METHOD_ALLOCATE,
        METHOD_LIST_HEAPS,
        METHOD_GET_USAGE,
        METHOD_LIST_CLIENTS,
        METHOD_LIST_BUFFERS,
        METHOD_GET_INFO,
        METHOD_MAX_
} Method;

/* Returns the full varlink name, as "io.dmaheapd.Allocator.Allocate": a constant string. */
const char *method_name(Method method);
