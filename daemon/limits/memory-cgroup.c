/* SPDX-License-Identifier: GPL-2.0-only */

/* Asks the memory controller before the kernel has to refuse: an allocation past memory.max would wake the OOM
 * killer. Each check walks from a cgroup up to the root by directory fds, so a cgroup that is removed and made anew
 * under its name meanwhile is not taken for the first. Sums saturate at UINT64_MAX instead of wrapping, so that too
 * large a number always refuses. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "limits/memory-cgroup.h"
#include "util/fd-util.h"
#include "util/utf8.h"

/* Users can nest cgroups without a limit of depth in a subtree delegated to them; this bounds the time of a walk. */
#define LEVELS_MAX 256U

/* Called for each level from the cgroup itself upwards, without the root. Returns 0 to go on; any other value ends
 * the walk and is returned by it. */
typedef int (*level_t)(int level_fd, uint64_t id, void *userdata);

static int walk_up(int root_fd, int cgroup_fd, level_t on_level, void *userdata) {
        struct stat root, st;

        if (fstat(root_fd, &root) < 0)
                return -errno;

        _cleanup_close_ int level_fd = openat(cgroup_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (level_fd < 0)
                return -errno;

        for (unsigned i = 0; i < LEVELS_MAX; i++) {
                if (fstat(level_fd, &st) < 0)
                        return -errno;
                if (st.st_dev != root.st_dev)
                        return -EXDEV;
                if (st.st_ino == root.st_ino)
                        return 0;

                int r = on_level(level_fd, st.st_ino, userdata);
                if (r != 0)
                        return r;

                int parent_fd = openat(level_fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
                if (parent_fd < 0)
                        return -errno;
                safe_close(level_fd);
                level_fd = parent_fd;
        }

        return -ELOOP;
}

/* The directory of a removed cgroup can still be used by its fd, but it has no files and no links any more. */
static int check_exists(int cgroup_fd) {
        struct stat st;

        if (fstat(cgroup_fd, &st) < 0)
                return -errno;
        return st.st_nlink == 0 || faccessat(cgroup_fd, "cgroup.procs", F_OK, 0) < 0 ? -ENOENT : 0;
}

static int collect_id(int level_fd _unused_, uint64_t id, void *userdata) {
        CgroupIds *ids = userdata;

        /* When it is full, the innermost ancestor is dropped: ids[0] stays, and the outer ones move down. */
        if (ids->n == CGROUP_IDS_MAX)
                memmove(&ids->ids[1], &ids->ids[2], sizeof(ids->ids[0]) * (--ids->n - 1));

        ids->ids[ids->n++] = id;
        return 0;
}

int cgroup_ids_read(int root_fd, int cgroup_fd, CgroupIds *ret) {
        CgroupIds ids = {};

        int r = check_exists(cgroup_fd);
        if (r < 0)
                return r;

        r = walk_up(root_fd, cgroup_fd, collect_id, &ids);
        if (r < 0)
                return r;

        *ret = ids;
        return 0;
}

/* Reads memory.max or memory.high. Returns 1, or 0 when the level does not have the file: then there is no
 * controller. */
static int read_limit(int level_fd, const char *name, uint64_t *ret) {
        _cleanup_free_ char *text = NULL;

        ssize_t n = read_file_at(level_fd, name, 64, &text);
        if (n == -ENOENT)
                return 0;
        if (n < 0)
                return n;

        if (streq(text, "max\n") || streq(text, "max")) {
                *ret = MEMORY_INFINITY;
                return 1;
        }

        int r = parse_u64(text, ret);
        return r < 0 ? r : 1;
}

/* The value of "NAME VALUE\n" in a flat-keyed file. */
static int find_value(const char *text, const char *name, uint64_t *ret) {
        size_t n = strlen(name);

        for (const char *line = text; line && *line; line = strchr(line, '\n'), line = line ? line + 1 : NULL) {
                if (strncmp(line, name, n) != 0 || line[n] != ' ')
                        continue;

                char *end;
                errno = 0;
                unsigned long long value = strtoull(line + n + 1, &end, 10);
                if (errno > 0 || end == line + n + 1 || (*end != '\n' && *end != 0))
                        return -EBADMSG;

                *ret = value;
                return 0;
        }

        return -ENODATA;
}

/* Reads how much memory the kernel would reclaim before it refuses: the page cache, and slab that can shrink. */
static int read_reclaimable(int level_fd, uint64_t *ret) {
        static const char *const names[] = { "inactive_file", "active_file", "slab_reclaimable" };
        _cleanup_free_ char *text = NULL;
        uint64_t sum = 0;

        ssize_t n = read_file_at(level_fd, "memory.stat", 64 * 1024, &text);
        if (n < 0)
                return n;

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                uint64_t value;

                int r = find_value(text, names[i], &value);
                if (r == -ENODATA)
                        continue;
                if (r < 0)
                        return r;
                if (__builtin_add_overflow(sum, value, &sum))
                        return -EBADMSG;
        }

        *ret = sum;
        return 0;
}

static uint64_t add_saturated(uint64_t a, uint64_t b) {
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

typedef struct Level {
        uint64_t limit; /* MEMORY_INFINITY: none */
        uint64_t used;  /* with pending bytes and MEMORY_CGROUP_WORKER_SIZE */
} Level;

/* Reads one level, and its memory.stat only if `size` bytes more would not fit without it.
 *
 * A level that is removed meanwhile (ENODEV of kernfs, or ENOENT) has no limit any more. */
static int read_level(int level_fd, uint64_t pending, uint64_t size, Level *ret) {
        uint64_t max = MEMORY_INFINITY, high = MEMORY_INFINITY, current, reclaimable = 0;

        int r = read_limit(level_fd, "memory.max", &max);
        if (r > 0)
                r = read_limit(level_fd, "memory.high", &high);
        if (r < 0 && r != -ENODEV)
                return r;

        Level level = { .limit = MIN(max, high) };
        if (r <= 0 || level.limit == MEMORY_INFINITY) {
                *ret = (Level) { .limit = MEMORY_INFINITY };
                return 0;
        }

        r = read_u64_at(level_fd, "memory.current", &current);
        if (r == -ENOENT || r == -ENODEV) {
                *ret = (Level) { .limit = MEMORY_INFINITY };
                return 0;
        }
        if (r < 0)
                return r;

        uint64_t ours = add_saturated(pending, MEMORY_CGROUP_WORKER_SIZE);
        level.used = add_saturated(current, ours);

        if (add_saturated(level.used, size) > level.limit) {
                r = read_reclaimable(level_fd, &reclaimable);
                if (r < 0 && r != -ENOENT && r != -ENODEV)
                        return r;
                if (r >= 0)
                        level.used = add_saturated(current - MIN(current, reclaimable), ours);
        }

        *ret = level;
        return 0;
}

typedef struct Walk {
        uint64_t size;
        cgroup_pending_t pending;
        void *userdata;
        int root_fd;
        uint64_t headroom;
        MemoryCgroupRefusal *refusal;
} Walk;

static uint64_t pending_bytes(const Walk *walk, uint64_t id) {
        return walk->pending ? walk->pending(id, walk->userdata) : 0;
}

/* Writes the path below the root, cut at the front if it is too long, or "?" if it cannot be found out. */
static void describe_path(int root_fd, int level_fd, char *buffer, size_t size) {
        _cleanup_free_ char *root = NULL, *path = NULL, *below = NULL;
        static const char ellipsis[] = "…";

        (void) snprintf(buffer, size, "?");
        if (fd_get_path(root_fd, &root) < 0 || fd_get_path(level_fd, &path) < 0)
                return;

        size_t n = streq(root, "/") ? 0 : strlen(root);
        if (strncmp(path, root, n) != 0 || path[n] != '/')
                return;

        below = utf8_escape_invalid(path + n);
        if (!below)
                return;

        size_t length = strlen(below);
        if (length < size)
                memcpy(buffer, below, length + 1);
        else
                (void) snprintf(buffer,
                                size,
                                "%s%s",
                                ellipsis,
                                utf8_next_character(below + length - (size - sizeof(ellipsis))));
}

static int check_level(int level_fd, uint64_t id, void *userdata) {
        Walk *walk = userdata;
        Level level;

        int r = read_level(level_fd, pending_bytes(walk, id), walk->size, &level);
        if (r < 0)
                return r;
        if (level.limit == MEMORY_INFINITY || add_saturated(level.used, walk->size) <= level.limit)
                return 0;

        *walk->refusal = (MemoryCgroupRefusal) {
                .limit = level.limit,
                .used = level.used,
                .requested = walk->size,
        };
        describe_path(walk->root_fd, level_fd, walk->refusal->path, sizeof(walk->refusal->path));
        return -EDQUOT;
}

int memory_cgroup_check(int root_fd, int cgroup_fd, uint64_t size, cgroup_pending_t pending, void *userdata,
                MemoryCgroupRefusal *ret) {
        Walk walk = {
                .size = size,
                .pending = pending,
                .userdata = userdata,
                .root_fd = root_fd,
                .refusal = ret,
        };

        int r = check_exists(cgroup_fd);
        if (r < 0)
                return r;

        return walk_up(root_fd, cgroup_fd, check_level, &walk);
}

static int measure_level(int level_fd, uint64_t id, void *userdata) {
        Walk *walk = userdata;
        Level level;

        int r = read_level(level_fd, pending_bytes(walk, id), MEMORY_INFINITY, &level);
        if (r < 0)
                return r;

        if (level.limit != MEMORY_INFINITY)
                walk->headroom = MIN(walk->headroom, level.limit - MIN(level.limit, level.used));
        return 0;
}

int memory_cgroup_headroom(int root_fd, int cgroup_fd, cgroup_pending_t pending, void *userdata, uint64_t *ret) {
        Walk walk = {
                .pending = pending,
                .userdata = userdata,
                .headroom = MEMORY_INFINITY,
        };

        int r = check_exists(cgroup_fd);
        if (r < 0)
                return r;

        r = walk_up(root_fd, cgroup_fd, measure_level, &walk);
        if (r < 0)
                return r;

        *ret = walk.headroom;
        return 0;
}

/* Reads the count of this cgroup alone. Returns 0, or -ENOENT where it has no memory controller. */
static int read_oom_kills(int cgroup_fd, uint64_t *ret) {
        static const char *const files[] = { "memory.events.local", "memory.events" };

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                _cleanup_free_ char *text = NULL;

                ssize_t n = read_file_at(cgroup_fd, files[i], 4096, &text);
                if (n >= 0)
                        return find_value(text, "oom_kill", ret);
                if (n != -ENOENT)
                        return n;
        }

        return -ENOENT;
}

int memory_cgroup_oom_kills(int cgroup_fd, uint64_t *ret) {
        _cleanup_close_ int level_fd = fcntl(cgroup_fd, F_DUPFD_CLOEXEC, 3);
        struct stat st;

        if (level_fd < 0 || fstat(level_fd, &st) < 0)
                return -errno;

        /* Where the controller is not enabled, processes are charged to the nearest ancestor that has it. */
        for (dev_t device = st.st_dev; st.st_dev == device;) {
                int r = read_oom_kills(level_fd, ret);
                if (r == -ENODEV)
                        return -ENOENT;
                if (r != -ENOENT)
                        return r;

                ino_t inode = st.st_ino;
                int parent_fd = openat(level_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (parent_fd < 0)
                        return -errno;

                safe_close(level_fd);
                level_fd = parent_fd;
                if (fstat(level_fd, &st) < 0)
                        return -errno;
                if (st.st_ino == inode)
                        break;
        }

        return -ENOENT;
}

/* The value of "NAME:   VALUE kB". */
static int find_kib(const char *text, const char *name, uint64_t *ret) {
        const char *line = strstr(text, name);
        unsigned long long kib;

        /* At the beginning of a line only. */
        while (line && line != text && line[-1] != '\n')
                line = strstr(line + 1, name);

        if (!line || sscanf(line + strlen(name), " %llu kB", &kib) != 1 || kib > UINT64_MAX / 1024)
                return -EBADMSG;

        *ret = kib * 1024;
        return 0;
}

int memory_info_read(const char *path, MemoryInfo *ret) {
        _cleanup_free_ char *text = NULL;
        MemoryInfo info;

        ssize_t n = read_file_at(AT_FDCWD, path ?: "/proc/meminfo", 64 * 1024, &text);
        if (n < 0)
                return n;

        int r = find_kib(text, "MemTotal:", &info.total);
        if (r >= 0)
                r = find_kib(text, "MemAvailable:", &info.available);
        if (r < 0)
                return r;

        *ret = info;
        return 0;
}

int memory_info_check(const MemoryInfo *info, uint64_t keep, uint64_t reserved, uint64_t size, uint64_t *ret_limit,
                uint64_t *ret_used) {
        uint64_t limit = info->total - MIN(info->total, keep);
        uint64_t used = add_saturated(info->total - MIN(info->total, info->available), reserved);

        if (add_saturated(used, size) <= limit)
                return 0;

        *ret_limit = limit;
        *ret_used = used;
        return -EDQUOT;
}
