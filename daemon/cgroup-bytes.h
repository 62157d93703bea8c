/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "macro.h"

/* The most cgroup ids kept of one cgroup and its ancestors. Of a deeper one, ids are kept of itself and of the outermost:
 * what is left out is inside a delegated subtree, and limits there are its owner's own. */
#define CGROUP_IDS_MAX 16U

/* A cgroup's id is the inode number of its directory. ids[0] is the cgroup, the last one the outermost below the root;
 * the root itself has no limits and is not among them (n is 0 for it). */
typedef struct CgroupIds {
        uint64_t ids[CGROUP_IDS_MAX];
        size_t n;
} CgroupIds;

/* Bytes that the kernel does not charge, summed per cgroup: uncharged live buffers and reservations. Each is added to the
 * cgroup and all its ancestors, so those of a cgroup that has gone still count at its nearest living ancestor. */
typedef struct CgroupBytes CgroupBytes;

/* NULL when out of memory. Needs nothing worth mentioning while it is empty. */
CgroupBytes *cgroup_bytes_new(void);
CgroupBytes *cgroup_bytes_free(CgroupBytes *bytes);
static inline void cgroup_bytes_freep(CgroupBytes **bytes) {
        cgroup_bytes_free(*bytes);
}

/* Adds size to every id. -ENOMEM, with nothing added. */
int cgroup_bytes_add(CgroupBytes *bytes, const CgroupIds *ids, uint64_t size);

/* Takes away what was added before; asserts that it was. Never fails. */
void cgroup_bytes_subtract(CgroupBytes *bytes, const CgroupIds *ids, uint64_t size);

/* The sum for one id, 0 for an unknown one. Fits cgroup_pending_t with the CgroupBytes as userdata. */
uint64_t cgroup_bytes_get(uint64_t id, void *userdata);
