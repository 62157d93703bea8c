/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "macro.h"

#define UDMABUF_REASON_LENGTH 128U

/* Whether /dev/udmabuf would refuse a buffer of that many bytes, by its module parameter size_limit_mb, which is 64 before
 * Linux 7.3 and may be changed at any time. Its list_limit counts the memfds of one buffer, of which we give it one.
 *
 * sysfs: where sysfs is mounted, "/sys" but for tests. ret_reason: for an administrator, written only if it would. */
bool heap_udmabuf_refuses(const char *sysfs, uint64_t size, char ret_reason[static UDMABUF_REASON_LENGTH]);
