/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* What a cgroup and its ancestors can still take, by the memory controller of cgroup v2
 * (Documentation/admin-guide/cgroup-v2.rst), and what the kernel does not charge but we do. */

#include "cgroup-bytes.h"
#include "macro.h"

#define MEMORY_INFINITY UINT64_MAX

/* What a worker itself needs in its client's cgroup, in bytes. */
#define MEMORY_CGROUP_WORKER_SIZE ((uint64_t) 1024 * 1024)

/* Collects the ids of a cgroup and its ancestors.
 *
 * root_fd: the cgroup file system's root directory, where the walk up ends. cgroup_fd: the cgroup's directory, below it.
 * Returns 0; -ENOENT when the cgroup has been removed; -EXDEV when it is not below root_fd; else -errno. */
int cgroup_ids_read(int root_fd, int cgroup_fd, CgroupIds *ret);

/* Says how many bytes are held against the cgroup of that id without being in its memory.current. */
typedef uint64_t (*cgroup_pending_t)(uint64_t id, void *userdata);

/* The level that refuses: path is "/…" relative to root_fd (cut at the front with "…" if overlong, "?" if unknown). limit
 * is memory.max or memory.high, whichever is smaller. used is what that level holds without what the kernel could reclaim at
 * once, pending bytes and the worker's allowance included: used + requested > limit. */
typedef struct MemoryCgroupRefusal {
        char path[256];
        uint64_t limit;
        uint64_t used;
        uint64_t requested;
} MemoryCgroupRefusal;

/* Looks whether `size` bytes more fit into the cgroup and each of its ancestors.
 *
 * A level fits while (current - inactive_file - active_file - slab_reclaimable) + pending + size + worker's allowance is at
 * most min(memory.max, memory.high). Levels without a limit or without the memory controller are skipped. memory.stat is
 * read only where current + pending + size does not fit anyway (it is slow: the kernel flushes its counters for it).
 * pending may be NULL.
 * Returns 0; -EDQUOT with *ret filled in; -ENOENT when the cgroup has been removed; else -errno. */
int memory_cgroup_check(
                int root_fd, int cgroup_fd, uint64_t size, cgroup_pending_t pending, void *userdata, MemoryCgroupRefusal *ret);

/* The smallest headroom of all levels, 0 where one is used up, MEMORY_INFINITY where none has a limit. Reads memory.stat of
 * every level with a limit. */
int memory_cgroup_headroom(int root_fd, int cgroup_fd, cgroup_pending_t pending, void *userdata, uint64_t *ret);

/* How many processes of this cgroup the OOM killer has killed so far: oom_kill of memory.events.local, or where that is
 * missing of memory.events (which counts sub-cgroups too). -ENOENT when the cgroup is gone or has no memory controller:
 * then /proc/PID/status of the dead would not say either. */
int memory_cgroup_oom_kills(int cgroup_fd, uint64_t *ret);

typedef struct MemoryInfo {
        uint64_t total;     /* MemTotal, bytes */
        uint64_t available; /* MemAvailable, bytes */
} MemoryInfo;

/* Reads /proc/meminfo, or the file given instead of it. -EBADMSG when it lacks a line. */
int memory_info_read(const char *path, MemoryInfo *ret);

/* The system's own limit: MemAvailable - reserved - size may not fall below keep. Returns 0 or -EDQUOT; then limit is
 * total - keep, used is total - available + reserved. */
int memory_info_check(
                const MemoryInfo *info, uint64_t keep, uint64_t reserved, uint64_t size, uint64_t *ret_limit, uint64_t *ret_used);
