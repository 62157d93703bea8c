/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "util/macro.h"

#define UDMABUF_REASON_LENGTH 128U

/* Whether /dev/udmabuf would refuse a buffer of `size` bytes. That depends on its module parameter size_limit_mb, which
 * is 64 by default before Linux 7.3 and can be changed at any time. The parameter list_limit counts the memfds of one
 * buffer, and the worker uses one.
 *
 * sysfs: where sysfs is mounted, "/sys" except in tests. ret_reason: for an administrator, written only if the result
 * is true. */
bool heap_udmabuf_refuses(const char *sysfs, uint64_t size, char ret_reason[static UDMABUF_REASON_LENGTH]);
