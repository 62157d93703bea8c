/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "util/macro.h"

/* The most ids kept of a cgroup and its ancestors. Of a deeper cgroup, its own id is kept and those of the outermost
 * ancestors: those left out are inside a delegated subtree, where limits are the subtree owner's own. */
#define CGROUP_IDS_MAX 16U

/* The ids of a cgroup and its ancestors: the inode numbers of their directories. ids[0] is the cgroup itself, the
 * last one the outermost ancestor below the root. The root has no limits and is left out, so n is 0 for it. */
typedef struct CgroupIds {
        uint64_t ids[CGROUP_IDS_MAX];
        size_t n;
} CgroupIds;

/* The bytes of live buffers and reservations that the kernel does not charge, summed for each cgroup. They are added
 * to the cgroup and to all its ancestors, so bytes of a removed cgroup still count at its ancestors. */
typedef struct CgroupBytes CgroupBytes;

/* Returns NULL when out of memory. The table is allocated with the first sum and freed with the last. */
CgroupBytes *cgroup_bytes_new(void);
CgroupBytes *cgroup_bytes_free(CgroupBytes *bytes);
DEFINE_CLEANUP(CgroupBytes, cgroup_bytes_free);

/* Adds size to the sum of every id. Returns 0, or -ENOMEM with nothing added. */
int cgroup_bytes_add(CgroupBytes *bytes, const CgroupIds *ids, uint64_t size);

/* Takes size from the sum of every id. Asserts that as much was added before. */
void cgroup_bytes_subtract(CgroupBytes *bytes, const CgroupIds *ids, uint64_t size);

/* The sum of one id, 0 for an unknown one. A cgroup_pending_t, with the CgroupBytes as userdata. */
uint64_t cgroup_bytes_get(uint64_t id, void *userdata);
