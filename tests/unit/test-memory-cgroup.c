/* SPDX-License-Identifier: GPL-2.0-only */

/* The limits of control groups and of the machine. The cgroup file system is a tree of ordinary directories and
 * files, since the functions only open and read. */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "limits/memory-cgroup.h"
#include "unit.h"
#include "util/fd-util.h"

#define MIB (UINT64_C(1024) * 1024)
#define WORKER MEMORY_CGROUP_WORKER_SIZE

/* A tree of cgroups. */
typedef struct Tree {
        char *path;
        int root_fd;
} Tree;

static Tree tree_new(void) {
        Tree tree = { .path = directory_new() };

        tree.root_fd = open(tree.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(tree.root_fd >= 0);
        file_print(tree.path, "cgroup.procs", "%s", "");
        return tree;
}

static void tree_done(Tree *tree) {
        safe_close(tree->root_fd);
        directory_remove(tree->path);
}

/* high and max: "max" or a number. file: the value of each kind of reclaimable memory. */
static int add_cgroup(const Tree *tree, const char *path, const char *max, const char *high, uint64_t current,
                uint64_t file) {
        char name[4096];

        (void) snprintf(name, sizeof(name), "%s/cgroup.procs", path);
        file_print(tree->path, name, "%s", "");
        if (max) {
                (void) snprintf(name, sizeof(name), "%s/memory.max", path);
                file_print(tree->path, name, "%s\n", max);
                (void) snprintf(name, sizeof(name), "%s/memory.high", path);
                file_print(tree->path, name, "%s\n", high);
                (void) snprintf(name, sizeof(name), "%s/memory.current", path);
                file_print(tree->path, name, "%llu\n", (unsigned long long) current);
                (void) snprintf(name, sizeof(name), "%s/memory.stat", path);
                file_print(tree->path,
                                name,
                                "anon 1\nfile 99\ninactive_file_x 7\ninactive_anon 5\ninactive_file %llu\nactive_file "
                                "%llu\n"
                                "slab_reclaimable %llu\nslab_unreclaimable 9\n",
                                (unsigned long long) file,
                                (unsigned long long) file,
                                (unsigned long long) file);
        }

        int fd = openat(tree->root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static void test_ids(void **state) {
        _cleanup_(tree_done) Tree tree = tree_new();
        _cleanup_close_ int slice = add_cgroup(&tree, "a.slice", NULL, NULL, 0, 0);
        _cleanup_close_ int unit = add_cgroup(&tree, "a.slice/b.service", NULL, NULL, 0, 0);
        CgroupIds ids;
        struct stat st;
        (void) state;

        assert_int_equal(cgroup_ids_read(tree.root_fd, unit, &ids), 0);
        assert_int_equal(ids.n, 2);
        assert_int_equal(fstat(unit, &st), 0);
        assert_int_equal(ids.ids[0], st.st_ino);
        assert_int_equal(fstat(slice, &st), 0);
        assert_int_equal(ids.ids[1], st.st_ino);

        assert_int_equal(cgroup_ids_read(tree.root_fd, tree.root_fd, &ids), 0);
        assert_int_equal(ids.n, 0);
}

/* Cgroups of every depth up to 40, where CGROUP_IDS_MAX ids are kept. */
static void test_ids_deep(void **state) {
        _cleanup_(tree_done) Tree tree = tree_new();
        uint64_t inodes[40];
        char path[256] = "";
        (void) state;

        for (unsigned i = 0; i < 40; i++) {
                (void) snprintf(path + strlen(path), sizeof(path) - strlen(path), "%sd", i > 0 ? "/" : "");

                _cleanup_close_ int fd = add_cgroup(&tree, path, NULL, NULL, 0, 0);
                struct stat st;
                assert_int_equal(fstat(fd, &st), 0);
                inodes[i] = st.st_ino;

                CgroupIds ids;
                assert_int_equal(cgroup_ids_read(tree.root_fd, fd, &ids), 0);
                assert_int_equal(ids.n, MIN(i + 1, CGROUP_IDS_MAX));
                assert_int_equal(ids.ids[0], inodes[i]);
                for (unsigned k = 1; k < ids.n; k++)
                        assert_int_equal(ids.ids[ids.n - k], inodes[k - 1]);
        }
}

static void test_ids_elsewhere(void **state) {
        _cleanup_(tree_done) Tree tree = tree_new();
        _cleanup_close_ int proc = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_close_ int fd = add_cgroup(&tree, "gone", NULL, NULL, 0, 0);
        char path[4096];
        CgroupIds ids;
        (void) state;

        /* The directory of a removed cgroup has no files. */
        (void) snprintf(path, sizeof(path), "%s/gone/cgroup.procs", tree.path);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(cgroup_ids_read(tree.root_fd, fd, &ids), -ENOENT);
        (void) snprintf(path, sizeof(path), "%s/gone", tree.path);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(cgroup_ids_read(tree.root_fd, fd, &ids), -ENOENT);

        assert_int_equal(cgroup_ids_read(proc, tree.root_fd, &ids), -EXDEV);
}

static void test_limit(void **state) {
        _cleanup_(tree_done) Tree tree = tree_new();
        _cleanup_close_ int fd = add_cgroup(&tree, "a.service", "67108864", "max", 10 * MIB, 0);
        MemoryCgroupRefusal refusal;
        uint64_t headroom, room = 64 * MIB - 10 * MIB - WORKER;
        (void) state;

        assert_int_equal(memory_cgroup_headroom(tree.root_fd, fd, NULL, NULL, &headroom), 0);
        assert_int_equal(headroom, room);
        assert_int_equal(memory_cgroup_check(tree.root_fd, fd, room, NULL, NULL, &refusal), 0);
        assert_int_equal(memory_cgroup_check(tree.root_fd, fd, room + 1, NULL, NULL, &refusal), -EDQUOT);
        assert_string_equal(refusal.path, "/a.service");
        assert_int_equal(refusal.limit, 64 * MIB);
        assert_int_equal(refusal.used, 10 * MIB + WORKER);
        assert_int_equal(refusal.requested, room + 1);
        assert_int_equal(memory_cgroup_check(tree.root_fd, fd, UINT64_MAX, NULL, NULL, &refusal), -EDQUOT);
}

static void test_high_and_reclaimable(void **state) {
        _cleanup_(tree_done) Tree tree = tree_new();
        _cleanup_close_ int fd = add_cgroup(&tree, "a.service", "67108864", "33554432", 30 * MIB, 6 * MIB);
        MemoryCgroupRefusal refusal;
        uint64_t headroom, room = 32 * MIB - 12 * MIB - WORKER;
        char path[4096];
        (void) state;

        assert_int_equal(memory_cgroup_headroom(tree.root_fd, fd, NULL, NULL, &headroom), 0);
        assert_int_equal(headroom, room);
        assert_int_equal(memory_cgroup_check(tree.root_fd, fd, room, NULL, NULL, &refusal), 0);
        assert_int_equal(memory_cgroup_check(tree.root_fd, fd, room + 1, NULL, NULL, &refusal), -EDQUOT);
        assert_int_equal(refusal.limit, 32 * MIB);
        assert_int_equal(refusal.used, 12 * MIB + WORKER);

        /* memory.stat is read only if the bytes do not fit without it; reading this one fails. */
        (void) snprintf(path, sizeof(path), "%s/a.service/memory.stat", tree.path);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_int_equal(memory_cgroup_check(tree.root_fd, fd, 1 * MIB, NULL, NULL, &refusal), 0);
        assert_int_equal(memory_cgroup_check(tree.root_fd, fd, 1 * MIB + 1, NULL, NULL, &refusal), -EISDIR);
}

/* Counters that lag may show more reclaimable memory than there is: no subtraction wraps. A cgroup over its limit
 * has no headroom. */
static void test_extremes(void **state) {
        _cleanup_(tree_done) Tree tree = tree_new();
        _cleanup_close_ int lag = add_cgroup(&tree, "lag", "67108864", "max", 64 * MIB, 60 * MIB);
        _cleanup_close_ int over = add_cgroup(&tree, "over", "67108864", "max", 80 * MIB, 0);
        _cleanup_close_ int zero = add_cgroup(&tree, "zero", "0", "max", 0, 0);
        _cleanup_close_ int none = add_cgroup(&tree, "none", "max", "max", 80 * MIB, 0);
        _cleanup_close_ int off = add_cgroup(&tree, "off", NULL, NULL, 0, 0);
        MemoryCgroupRefusal refusal;
        uint64_t headroom;
        (void) state;

        assert_int_equal(memory_cgroup_headroom(tree.root_fd, lag, NULL, NULL, &headroom), 0);
        assert_int_equal(headroom, 63 * MIB);
        assert_int_equal(memory_cgroup_headroom(tree.root_fd, over, NULL, NULL, &headroom), 0);
        assert_int_equal(headroom, 0);
        assert_int_equal(memory_cgroup_check(tree.root_fd, over, 0, NULL, NULL, &refusal), -EDQUOT);
        assert_int_equal(memory_cgroup_headroom(tree.root_fd, zero, NULL, NULL, &headroom), 0);
        assert_int_equal(headroom, 0);
        assert_int_equal(memory_cgroup_headroom(tree.root_fd, none, NULL, NULL, &headroom), 0);
        assert_int_equal(headroom, MEMORY_INFINITY);
        assert_int_equal(memory_cgroup_headroom(tree.root_fd, off, NULL, NULL, &headroom), 0);
        assert_int_equal(headroom, MEMORY_INFINITY);
        assert_int_equal(memory_cgroup_check(tree.root_fd, off, UINT64_MAX, NULL, NULL, &refusal), 0);
}

static void test_ancestor(void **state) {
        _cleanup_(tree_done) Tree tree = tree_new();
        _cleanup_close_ int slice = add_cgroup(&tree, "a.slice", "33554432", "max", 20 * MIB, 0);
        _cleanup_close_ int unit = add_cgroup(&tree, "a.slice/b.service", "67108864", "max", 5 * MIB, 0);
        _cleanup_close_ int sub = add_cgroup(&tree, "a.slice/b.service/sub", NULL, NULL, 0, 0);
        MemoryCgroupRefusal refusal;
        (void) state;

        assert_int_equal(memory_cgroup_check(tree.root_fd, sub, 11 * MIB, NULL, NULL, &refusal), 0);
        assert_int_equal(memory_cgroup_check(tree.root_fd, sub, 11 * MIB + 1, NULL, NULL, &refusal), -EDQUOT);
        assert_string_equal(refusal.path, "/a.slice");
        assert_int_equal(refusal.limit, 32 * MIB);
}

static void test_pending(void **state) {
        _cleanup_(tree_done) Tree tree = tree_new();
        _cleanup_close_ int slice = add_cgroup(&tree, "a.slice", "33554432", "max", 0, 0);
        _cleanup_close_ int one = add_cgroup(&tree, "a.slice/one", "max", "max", 0, 0);
        _cleanup_close_ int two = add_cgroup(&tree, "a.slice/two", "max", "max", 0, 0);
        _cleanup_(cgroup_bytes_freep) CgroupBytes *bytes = cgroup_bytes_new();
        CgroupIds ids_one, ids_two;
        MemoryCgroupRefusal refusal;
        (void) state;

        assert_int_equal(cgroup_ids_read(tree.root_fd, one, &ids_one), 0);
        assert_int_equal(cgroup_ids_read(tree.root_fd, two, &ids_two), 0);

        /* Bytes of `one` count against the slice, and so leave less room for `two`. */
        assert_int_equal(cgroup_bytes_add(bytes, &ids_one, 30 * MIB), 0);
        assert_int_equal(memory_cgroup_check(tree.root_fd, two, 1 * MIB, cgroup_bytes_get, bytes, &refusal), 0);
        assert_int_equal(memory_cgroup_check(tree.root_fd, two, 1 * MIB + 1, cgroup_bytes_get, bytes, &refusal),
                        -EDQUOT);
        assert_int_equal(refusal.used, 30 * MIB + WORKER);
        cgroup_bytes_subtract(bytes, &ids_one, 30 * MIB);
        assert_int_equal(memory_cgroup_check(tree.root_fd, two, 31 * MIB, cgroup_bytes_get, bytes, &refusal), 0);
        assert_int_equal(cgroup_bytes_get(ids_two.ids[1], bytes), 0);
}

/* Thousands of ids are added and taken away in different orders, and share runs of slots. */
static void test_bytes_table(void **state) {
        _cleanup_(cgroup_bytes_freep) CgroupBytes *bytes = cgroup_bytes_new();
        enum { N = 5000 };
        (void) state;

        assert_int_equal(cgroup_bytes_get(1, bytes), 0);
        for (uint64_t i = 1; i <= N; i++)
                assert_int_equal(cgroup_bytes_add(bytes, &(CgroupIds) { { i * 64, UINT64_MAX }, 2 }, i), 0);
        assert_int_equal(cgroup_bytes_get(UINT64_MAX, bytes), (uint64_t) N * (N + 1) / 2);

        for (uint64_t i = 1; i <= N; i += 3)
                cgroup_bytes_subtract(bytes, &(CgroupIds) { { i * 64, UINT64_MAX }, 2 }, i);
        for (uint64_t i = 1; i <= N; i++)
                assert_int_equal(cgroup_bytes_get(i * 64, bytes), i % 3 == 1 ? 0 : i);
        for (uint64_t i = N; i >= 1; i--)
                if (i % 3 != 1)
                        cgroup_bytes_subtract(bytes, &(CgroupIds) { { i * 64, UINT64_MAX }, 2 }, i);
        assert_int_equal(cgroup_bytes_get(UINT64_MAX, bytes), 0);

        /* Adding and subtracting 0 bytes is balanced, too. */
        assert_int_equal(cgroup_bytes_add(bytes, &(CgroupIds) { { 5 }, 1 }, 0), 0);
        assert_int_equal(cgroup_bytes_add(bytes, &(CgroupIds) { { 5 }, 1 }, 3), 0);
        cgroup_bytes_subtract(bytes, &(CgroupIds) { { 5 }, 1 }, 3);
        cgroup_bytes_subtract(bytes, &(CgroupIds) { { 5 }, 1 }, 0);
}

static void test_oom(void **state) {
        _cleanup_(tree_done) Tree tree = tree_new();
        _cleanup_close_ int slice = add_cgroup(&tree, "a.slice", NULL, NULL, 0, 0);
        _cleanup_close_ int unit = add_cgroup(&tree, "a.slice/b", NULL, NULL, 0, 0);
        uint64_t kills;
        (void) state;

        assert_int_equal(memory_cgroup_oom_kills(unit, &kills), -ENOENT);

        /* A cgroup without the memory controller is counted in its slice. */
        file_print(tree.path, "a.slice/memory.events.local", "oom 2\noom_kill 9\n");
        assert_int_equal(memory_cgroup_oom_kills(unit, &kills), 0);
        assert_int_equal(kills, 9);

        file_print(tree.path, "a.slice/b/memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 7\noom_group_kill 0\n");
        assert_int_equal(memory_cgroup_oom_kills(unit, &kills), 0);
        assert_int_equal(kills, 7);
        file_print(tree.path, "a.slice/b/memory.events.local", "oom 2\noom_kill 1\n");
        assert_int_equal(memory_cgroup_oom_kills(unit, &kills), 0);
        assert_int_equal(kills, 1);
}

static void test_meminfo(void **state) {
        _cleanup_(directory_removep) char *directory = directory_new();
        char path[4096];
        MemoryInfo info;
        uint64_t limit, used;
        (void) state;

        (void) snprintf(path, sizeof(path), "%s/meminfo", directory);
        file_print(directory, "meminfo", "MemTotal:        1000 kB\nMemFree: 1 kB\nMemAvailable:     600 kB\n");
        assert_int_equal(memory_info_read(path, &info), 0);
        assert_int_equal(info.total, 1000 * 1024);
        assert_int_equal(info.available, 600 * 1024);

        assert_int_equal(memory_info_check(&info, 100 * 1024, 50 * 1024, 450 * 1024, &limit, &used), 0);
        assert_int_equal(memory_info_check(&info, 100 * 1024, 50 * 1024, 450 * 1024 + 1, &limit, &used), -EDQUOT);
        assert_int_equal(limit, 900 * 1024);
        assert_int_equal(used, 450 * 1024);
        assert_int_equal(memory_info_check(&info, 0, 0, UINT64_MAX, &limit, &used), -EDQUOT);

        file_print(directory, "meminfo", "MemTotal: 1000 kB\n");
        assert_int_equal(memory_info_read(path, &info), -EBADMSG);
        assert_int_equal(memory_info_read(NULL, &info), 0);
        assert_true(info.total >= info.available);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ids),
                cmocka_unit_test(test_ids_deep),
                cmocka_unit_test(test_ids_elsewhere),
                cmocka_unit_test(test_limit),
                cmocka_unit_test(test_high_and_reclaimable),
                cmocka_unit_test(test_extremes),
                cmocka_unit_test(test_ancestor),
                cmocka_unit_test(test_pending),
                cmocka_unit_test(test_bytes_table),
                cmocka_unit_test(test_oom),
                cmocka_unit_test(test_meminfo),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
