/* SPDX-License-Identifier: MIT */
/*
 * The names of the methods.
 *
 * Invariant: every Method below METHOD_MAX_ has a name.
 */

#include "method.h"

static const char *const method_names[METHOD_MAX_] = {
        [METHOD_ALLOCATE] = INTERFACE ".Allocate",
        [METHOD_LIST_HEAPS] = INTERFACE ".ListHeaps",
        [METHOD_GET_USAGE] = INTERFACE ".GetUsage",
        [METHOD_LIST_CLIENTS] = INTERFACE ".ListClients",
        [METHOD_LIST_BUFFERS] = INTERFACE ".ListBuffers",
        [METHOD_GET_INFO] = "org.varlink.service.GetInfo",
};

const char *method_name(Method method) {
        return method_names[method];
}
