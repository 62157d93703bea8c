/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* How much memory a cgroup and its ancestors have left, by the memory controller of cgroup v2
 * (Documentation/admin-guide/cgroup-v2.rst) and by the bytes that the kernel does not charge. */

#include "limits/cgroup-bytes.h"
#include "util/macro.h"

#define MEMORY_INFINITY UINT64_MAX

/* The memory that a worker itself needs in its client's cgroup, in bytes. */
#define MEMORY_CGROUP_WORKER_SIZE ((uint64_t) 1024 * 1024)

/* Reads the ids of a cgroup and its ancestors.
 *
 * root_fd: the root directory of the cgroup file system, where the walk up ends. cgroup_fd: the cgroup's directory,
 * below it. Returns 0; -ENOENT when the cgroup has been removed; -EXDEV when it is not below root_fd; else -errno. */
int cgroup_ids_read(int root_fd, int cgroup_fd, CgroupIds *ret);

/* Returns the bytes that count against the cgroup of that id but are not in its memory.current. */
typedef uint64_t (*cgroup_pending_t)(uint64_t id, void *userdata);

/* The cgroup that refuses. path: relative to root_fd, cut at the front with "…" if too long, "?" if unknown. limit:
 * the smaller of memory.max and memory.high. used: memory.current less reclaimable memory, plus pending bytes and
 * MEMORY_CGROUP_WORKER_SIZE. used + requested > limit. */
typedef struct MemoryCgroupRefusal {
        char path[256];
        uint64_t limit;
        uint64_t used;
        uint64_t requested;
} MemoryCgroupRefusal;

/* Checks whether `size` bytes more fit into the cgroup and each of its ancestors.
 *
 * They fit while (current - inactive_file - active_file - slab_reclaimable) + pending + MEMORY_CGROUP_WORKER_SIZE +
 * size is at most min(memory.max, memory.high). Levels without a limit or without the memory controller are skipped.
 * memory.stat is read only where they do not fit without it: the read is slow, since the kernel flushes its
 * counters. pending may be NULL. Returns 0; -EDQUOT with *ret filled in; -ENOENT when the cgroup has been removed;
 * else -errno. */
int memory_cgroup_check(int root_fd, int cgroup_fd, uint64_t size, cgroup_pending_t pending, void *userdata,
                MemoryCgroupRefusal *ret);

/* Computes the smallest headroom of all levels: 0 if one is used up, MEMORY_INFINITY if none has a limit. Reads
 * memory.stat of every level with a limit. Returns as memory_cgroup_check(). */
int memory_cgroup_headroom(int root_fd, int cgroup_fd, cgroup_pending_t pending, void *userdata, uint64_t *ret);

/* Reads how many processes of this cgroup the OOM killer has killed so far: oom_kill of memory.events.local, or,
 * where that file is missing, of memory.events, which counts sub-cgroups too. A cgroup without the memory controller
 * is counted in its nearest ancestor with it. Returns 0; -ENOENT when the cgroup is gone or no ancestor has the
 * controller; else -errno. */
int memory_cgroup_oom_kills(int cgroup_fd, uint64_t *ret);

typedef struct MemoryInfo {
        uint64_t total;     /* MemTotal, bytes */
        uint64_t available; /* MemAvailable, bytes */
} MemoryInfo;

/* Reads /proc/meminfo, or the file at path unless that is NULL. Returns 0, -EBADMSG when a line is missing, or
 * -errno. */
int memory_info_read(const char *path, MemoryInfo *ret);

/* Checks that MemAvailable - reserved - size does not fall below keep. Returns 0, or -EDQUOT with a limit of total -
 * keep and a use of total - available + reserved. */
int memory_info_check(const MemoryInfo *info, uint64_t keep, uint64_t reserved, uint64_t size, uint64_t *ret_limit,
                uint64_t *ret_used);
