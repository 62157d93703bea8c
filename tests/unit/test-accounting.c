/* SPDX-License-Identifier: GPL-2.0-only */

/* Which accounts are charged, to the byte: for a request, for the buffers of an earlier run, and after a reload.
 * Ledger, configuration, meminfo and control groups are files below a directory of the test. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "accounting/accounting-internal.h"
#include "config/config-load.h"
#include "limits/memory-cgroup.h"
#include "unit.h"
#include "util/fd-util.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define WORKER MEMORY_CGROUP_WORKER_SIZE

static const uint8_t boot[16] = "this boot";

/* MemTotal is 1 GiB, 600 MiB are available; the CMA area `reserved` has 64 MiB. */
#define MEMORY_TOTAL (1024 * MIB)
#define MEMORY_AVAILABLE (600 * MIB)
#define REGION_SIZE (64 * MIB)

static const char no_limits[] = "[Limits]\nClientBytesMax=infinity\nClientBuffersMax=infinity\nUserBytesMax=infinity\n"
                                "SystemBytesMax=infinity\nKeepAvailable=0\n";

typedef struct World {
        char *path;
        sd_event *event;
        Config *config;
        HeapRegistry heaps;
        ClientRegistry clients;
        int cgroup_root_fd;
        int ledger_fd;
        char *meminfo;
        Accounting *accounting;
} World;

/* One connection of a client. */
typedef struct Caller {
        Peer peer;
        Client *client;
} Caller;

static void world_configure(World *world, const char *text) {
        file_print(world->path, "etc/dmaheapd/dmaheapd.conf", "%s", no_limits);
        file_print(world->path, "etc/dmaheapd/dmaheapd.conf.d/test.conf", "[Limits]\n%s", text);
        world->config = config_free(world->config);
        assert_int_equal(config_load(world->path, NULL, NULL, &world->config), 0);
}

/* A daemon begins: it knows its heaps, and opens its ledger. */
static void world_begin(World *world) {
        char *set_aside = NULL;
        Ledger *ledger;

        heap_registry_init(&world->heaps, NULL, NULL);
        heap_registry_regions_begin(&world->heaps);
        assert_int_equal(heap_registry_add_region(&world->heaps, "reserved", REGION_SIZE, true), 0);
        heap_registry_regions_end(&world->heaps);
        assert_int_equal(heap_registry_appeared(&world->heaps, "system"), 0);
        assert_int_equal(heap_registry_appeared(&world->heaps, "reserved"), 0);
        assert_int_equal(heap_registry_appeared(&world->heaps, HEAP_DEFAULT_CMA_REGION), 0);

        assert_int_equal(ledger_open(world->ledger_fd, boot, &ledger, &set_aside), 0);
        assert_null(set_aside);
        assert_int_equal(accounting_new(
                                         &(AccountingParts) {
                                                 .event = world->event,
                                                 .config = &world->config,
                                                 .heaps = &world->heaps,
                                                 .clients = &world->clients,
                                                 .cgroup_root_fd = world->cgroup_root_fd,
                                                 .meminfo = world->meminfo,
                                                 .ledger = ledger,
                                         },
                                         &world->accounting),
                        0);
}

static void world_end(World *world) {
        world->accounting = accounting_free(world->accounting);
        heap_registry_done(&world->heaps);
        client_registry_done(&world->clients);
        assert_null(world->clients.clients);
        assert_null(world->clients.users);
}

static World *world_new(const char *configuration) {
        World *world = calloc(1, sizeof(World));
        char path[4096];

        assert_non_null(world);
        world->path = directory_new();
        assert_int_equal(sd_event_new(&world->event), 0);

        file_print(world->path,
                        "meminfo",
                        "MemTotal: %llu kB\nMemAvailable: %llu kB\n",
                        (unsigned long long) (MEMORY_TOTAL / KIB),
                        (unsigned long long) (MEMORY_AVAILABLE / KIB));
        assert_true(asprintf(&world->meminfo, "%s/meminfo", world->path) > 0);

        file_print(world->path, "cgroup/cgroup.procs", "%s", "");
        (void) snprintf(path, sizeof(path), "%s/cgroup", world->path);
        world->cgroup_root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(world->cgroup_root_fd >= 0);

        (void) snprintf(path, sizeof(path), "%s/run", world->path);
        assert_int_equal(mkdir(path, 0700), 0);
        world->ledger_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(world->ledger_fd >= 0);

        world_configure(world, configuration);
        world_begin(world);
        return world;
}

static void world_freep(World **world) {
        world_end(*world);
        config_free((*world)->config);
        sd_event_unref((*world)->event);
        safe_close((*world)->cgroup_root_fd);
        safe_close((*world)->ledger_fd);
        free((*world)->meminfo);
        directory_remove((*world)->path);
        free(*world);
}
#define _cleanup_world_ _cleanup_(world_freep)

/* The daemon ends, and another begins with its ledger. inodes: the buffers that the first census finds. */
static void world_restart(World *world, bool kernel_charges, const uint64_t *inodes, size_t n) {
        world_end(world);
        world_begin(world);
        world->heaps.mem_accounting = kernel_charges;

        CensusEntry *entries = calloc(n + 1, sizeof(*entries));
        assert_non_null(entries);
        for (size_t i = 0; i < n; i++)
                entries[i] = (CensusEntry) { .inode = inodes[i], .size = 4096, .exporter = "someone else's" };
        assert_int_equal(accounting_adopt(world->accounting,
                                         &(CensusResult) {
                                                 .entries = entries, .inodes = (uint64_t *) inodes, .n_entries = n }),
                        0);
        free(entries);
}

/* A cgroup with a memory.max, or "max"; nothing in it can be reclaimed. */
static void add_cgroup(const World *world, const char *path, const char *max, uint64_t current) {
        char name[512];

        (void) snprintf(name, sizeof(name), "cgroup%s/cgroup.procs", path);
        file_print(world->path, name, "%s", "");
        (void) snprintf(name, sizeof(name), "cgroup%s/memory.max", path);
        file_print(world->path, name, "%s\n", max);
        (void) snprintf(name, sizeof(name), "cgroup%s/memory.high", path);
        file_print(world->path, name, "max\n");
        (void) snprintf(name, sizeof(name), "cgroup%s/memory.stat", path);
        file_print(world->path, name, "anon 1\n");
        (void) snprintf(name, sizeof(name), "cgroup%s/memory.current", path);
        file_print(world->path, name, "%llu\n", (unsigned long long) current);
}

static Caller connect_unit(
                World *world, const char *unit, bool unit_is_user, const char *cgroup, uid_t uid, uid_t user) {
        char path[512];
        struct stat st;

        (void) snprintf(path, sizeof(path), "%s/cgroup%s/cgroup.procs", world->path, cgroup);
        if (stat(path, &st) < 0)
                add_cgroup(world, cgroup, "max", 0);
        *strrchr(path, '/') = 0;

        Peer peer = {
                .identity = {
                        .unit = (char *) unit,
                        .unit_is_user = unit_is_user,
                        .cgroup = (char *) cgroup,
                        .uid = uid,
                        .user = user,
                },
        };
        peer.cgroup_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(peer.cgroup_fd >= 0);
        assert_int_equal(cgroup_ids_read(world->cgroup_root_fd, peer.cgroup_fd, &peer.identity.cgroup_ids), 0);

        Caller caller = { .peer = peer };
        assert_int_equal(client_registry_get(&world->clients, &peer.identity, &caller.client), 0);
        caller.client->n_connections++;
        return caller;
}

static const CgroupIds *caller_ids(const Caller *caller) {
        return &caller->peer.identity.cgroup_ids;
}

static Caller connect_camera(World *world) {
        return connect_unit(world, "camera.service", false, "/system.slice/camera.service", 1000, 1000);
}

static void disconnect(World *world, Caller *caller) {
        safe_close(caller->peer.cgroup_fd);
        caller->client->n_connections--;
        client_registry_release(&world->clients, caller->client);
        *caller = (Caller) {};
}

static Heap *find_heap(World *world, const char *name) {
        Heap *heap = heap_registry_find(&world->heaps, name);

        assert_non_null(heap);
        return heap;
}

static int reserve(World *world, const Caller *caller, const char *heap, uint64_t size, uint32_t n, Reservation *ret,
                AccountingRefusal *ret_refusal) {
        return accounting_reserve(world->accounting,
                        &caller->peer,
                        caller->client,
                        find_heap(world, heap),
                        size,
                        n,
                        ret,
                        ret_refusal);
}

static int record(
                World *world, Reservation *reservation, const Caller *caller, const LedgerBuffer *buffers, uint32_t n) {
        return accounting_record(world->accounting, reservation, &caller->peer, "frame", buffers, n);
}

/* Allocates buffers with inode numbers from `inode` on. */
static void allocate(World *world, const Caller *caller, const char *heap, uint64_t size, uint32_t n, uint64_t inode) {
        Reservation reservation = {};
        AccountingRefusal refusal;
        LedgerBuffer buffers[16];

        assert_true(n <= ELEMENTSOF(buffers));
        for (uint32_t i = 0; i < n; i++)
                buffers[i] = (LedgerBuffer) { inode + i, size };
        assert_int_equal(reserve(world, caller, heap, size, n, &reservation, &refusal), 0);
        assert_int_equal(record(world, &reservation, caller, buffers, n), 0);
}

static void assert_account(const QuotaAccount *account, uint64_t bytes, uint64_t buffers, uint64_t reserved) {
        assert_int_equal(account->bytes, bytes);
        assert_int_equal(account->buffers, buffers);
        assert_int_equal(account->reserved_bytes, reserved);
}

static Budget *budget_of(World *world, const char *heap) {
        Budget *budget;

        assert_int_equal(budget_registry_get(&world->accounting->budgets, find_heap(world, heap), &budget), 0);
        return budget;
}

static const QuotaAccount *share_of(World *world, const Client *client, const char *heap) {
        QuotaShare *share;

        assert_int_equal(quota_shares_get(&((Client *) client)->shares, budget_of(world, heap), &share), 0);
        return &share->account;
}

static uint64_t cgroup_sum(const World *world, uint64_t id) {
        return cgroup_bytes_get(id, world->accounting->cgroup_bytes);
}

/* Checks every account that one client's buffers of one heap are charged to, where there are no others. */
static void assert_held(World *world, const Client *client, const char *heap, uint64_t bytes, uint64_t buffers,
                uint64_t reserved, bool has_reserve) {
        assert_account(&client->account, bytes, buffers, reserved);
        assert_account(&client->user->account, bytes, buffers, reserved);
        assert_account(share_of(world, client, heap), bytes, buffers, reserved);
        assert_account(&budget_of(world, heap)->total, bytes, buffers, reserved);
        assert_account(&budget_of(world, heap)->others,
                        has_reserve ? 0 : bytes,
                        has_reserve ? 0 : buffers,
                        has_reserve ? 0 : reserved);
        assert_account(&world->accounting->system, bytes, buffers, reserved);
}

/* Reserves `fits` bytes, which succeeds, and one page more, which this limit must refuse. */
static void assert_limit(World *world, const Caller *caller, const char *heap, uint64_t fits, QuotaScope scope,
                const char *name, uint64_t limit, uint64_t used) {
        Reservation reservation = {};
        AccountingRefusal refusal = {};
        QuotaAccount before = world->accounting->system;
        uint64_t sum_before = cgroup_sum(world, caller_ids(caller)->ids[0]);

        assert_int_equal(reserve(world, caller, heap, fits, 1, &reservation, &refusal), 0);
        accounting_release(world->accounting, &reservation);

        assert_int_equal(reserve(world, caller, heap, fits + 4096, 1, &reservation, &refusal), -EDQUOT);
        assert_int_equal(refusal.scope, scope);
        assert_string_equal(refusal.name, name);
        assert_int_equal(refusal.resource, QUOTA_RESOURCE_BYTES);
        assert_int_equal(refusal.limit, limit);
        assert_int_equal(refusal.used, used);
        assert_int_equal(refusal.requested, fits + 4096);

        /* The refused request is charged to no account. */
        assert_true(quota_charge_is_empty(&reservation.charge));
        assert_null(reservation.client);
        assert_account(&world->accounting->system, before.bytes, before.buffers, before.reserved_bytes);
        assert_int_equal(cgroup_sum(world, caller_ids(caller)->ids[0]), sum_before);
}

static void test_client_limit(void **state) {
        _cleanup_world_ World *world = world_new("ClientBytesMax=32M\nClientBuffersMax=3\n");
        Caller camera = connect_camera(world);
        Caller bare = connect_unit(world, NULL, false, "/bare", 1001, 1001);
        Reservation reservation = {};
        AccountingRefusal refusal;
        (void) state;

        allocate(world, &camera, "system", 8 * MIB, 1, 10);
        assert_limit(world, &camera, "system", 24 * MIB, QUOTA_SCOPE_CLIENT, "camera.service", 32 * MIB, 8 * MIB);
        assert_limit(world, &bare, "system", 32 * MIB, QUOTA_SCOPE_CLIENT, "/bare", 32 * MIB, 0);

        assert_int_equal(reserve(world, &camera, "system", 4096, 3, &reservation, &refusal), -EDQUOT);
        assert_int_equal(refusal.scope, QUOTA_SCOPE_CLIENT);
        assert_int_equal(refusal.resource, QUOTA_RESOURCE_BUFFERS);
        assert_int_equal(refusal.limit, 3);
        assert_int_equal(refusal.used, 1);
        assert_int_equal(refusal.requested, 3);
        assert_int_equal(reserve(world, &camera, "system", 4096, 2, &reservation, &refusal), 0);
        accounting_release(world->accounting, &reservation);

        disconnect(world, &camera);
        disconnect(world, &bare);
}

static void test_user_limit(void **state) {
        _cleanup_world_ World *world = world_new("UserBytesMax=32M\n");
        Caller camera = connect_camera(world);
        Caller second = connect_unit(world, "display.service", false, "/system.slice/display.service", 33, 1000);
        (void) state;

        allocate(world, &camera, "system", 20 * MIB, 1, 10);
        assert_limit(world, &second, "system", 12 * MIB, QUOTA_SCOPE_USER, "1000", 32 * MIB, 20 * MIB);

        disconnect(world, &camera);
        disconnect(world, &second);
}

static void test_heap_limits(void **state) {
        _cleanup_world_ World *world = world_new("[Heap reserved]\nReserveBytes=16M\nReserveFor=camera.service\n");
        Caller camera = connect_camera(world);
        Caller a = connect_unit(world, "a.service", false, "/system.slice/a.service", 1, 1);
        Caller b = connect_unit(world, "b.service", false, "/system.slice/b.service", 1, 1);
        (void) state;

        /* A client may hold half of the region, by whichever of its names. */
        allocate(world, &a, "reserved", 8 * MIB, 1, 10);
        assert_limit(world, &a, "reserved", 24 * MIB, QUOTA_SCOPE_HEAP, "reserved", 32 * MIB, 8 * MIB);
        assert_limit(world,
                        &a,
                        HEAP_DEFAULT_CMA_REGION,
                        24 * MIB,
                        QUOTA_SCOPE_HEAP,
                        HEAP_DEFAULT_CMA_REGION,
                        32 * MIB,
                        8 * MIB);

        /* All clients without a part in the reserve share the rest. */
        allocate(world, &a, HEAP_DEFAULT_CMA_REGION, 24 * MIB, 1, 20);
        assert_limit(world, &b, "reserved", 16 * MIB, QUOTA_SCOPE_HEAP, "reserved", 48 * MIB, 32 * MIB);
        allocate(world, &b, "reserved", 8 * MIB, 1, 30);

        /* No client may hold more than the region has. */
        allocate(world, &camera, "reserved", 12 * MIB, 1, 40);
        assert_limit(world, &camera, "reserved", 12 * MIB, QUOTA_SCOPE_HEAP, "reserved", 64 * MIB, 52 * MIB);

        assert_account(&budget_of(world, "reserved")->others, 40 * MIB, 3, 0);
        assert_account(&budget_of(world, "reserved")->total, 52 * MIB, 4, 0);
        assert_ptr_equal(budget_of(world, "reserved"), budget_of(world, HEAP_DEFAULT_CMA_REGION));
        assert_ptr_not_equal(budget_of(world, "reserved"), budget_of(world, "system"));

        disconnect(world, &camera);
        disconnect(world, &a);
        disconnect(world, &b);
}

static void test_system_limit(void **state) {
        _cleanup_world_ World *world = world_new("SystemBytesMax=32M\n");
        Caller camera = connect_camera(world);
        Caller other = connect_unit(world, "a.service", false, "/system.slice/a.service", 1, 1);
        (void) state;

        allocate(world, &camera, "system", 20 * MIB, 1, 10);
        assert_limit(world, &other, "system", 12 * MIB, QUOTA_SCOPE_SYSTEM, "", 32 * MIB, 20 * MIB);

        disconnect(world, &camera);
        disconnect(world, &other);
}

/* Bytes that the kernel does not charge count against memory.max; those it charges are in memory.current already. */
static void test_cgroup_limit(void **state) {
        _cleanup_world_ World *world = world_new("");
        uint64_t headroom;
        (void) state;

        add_cgroup(world, "/system.slice/camera.service", "67108864", 10 * MIB);
        Caller camera = connect_camera(world);
        assert_limit(world,
                        &camera,
                        "system",
                        54 * MIB - WORKER,
                        QUOTA_SCOPE_CGROUP,
                        "/system.slice/camera.service",
                        64 * MIB,
                        10 * MIB + WORKER);

        allocate(world, &camera, "system", 4 * MIB, 2, 10);
        assert_limit(world,
                        &camera,
                        "system",
                        46 * MIB - WORKER,
                        QUOTA_SCOPE_CGROUP,
                        "/system.slice/camera.service",
                        64 * MIB,
                        18 * MIB + WORKER);
        assert_int_equal(accounting_headroom(world->accounting, &camera.peer, &headroom), 0);
        assert_int_equal(headroom, 46 * MIB - WORKER);

        world->heaps.mem_accounting = true;
        allocate(world, &camera, "system", 4 * MIB, 2, 20);
        assert_limit(world,
                        &camera,
                        "system",
                        46 * MIB - WORKER,
                        QUOTA_SCOPE_CGROUP,
                        "/system.slice/camera.service",
                        64 * MIB,
                        18 * MIB + WORKER);

        disconnect(world, &camera);
}

/* MemAvailable less what is reserved but not yet allocated may not fall below KeepAvailable=. A request's own bytes
 * do not count twice. */
static void test_memory_limit(void **state) {
        _cleanup_world_ World *world = world_new("KeepAvailable=100M\n");
        Caller camera = connect_camera(world);
        Reservation reservation = {};
        AccountingRefusal refusal;
        (void) state;

        assert_false(accounting_in_flight(world->accounting));
        assert_limit(world, &camera, "system", 500 * MIB, QUOTA_SCOPE_SYSTEM, "", 924 * MIB, 424 * MIB);
        assert_false(accounting_in_flight(world->accounting));

        assert_int_equal(reserve(world, &camera, "system", 100 * MIB, 2, &reservation, &refusal), 0);
        assert_true(accounting_in_flight(world->accounting));
        assert_limit(world, &camera, "system", 300 * MIB, QUOTA_SCOPE_SYSTEM, "", 924 * MIB, 624 * MIB);

        /* Allocated bytes are missing in MemAvailable, so they are not subtracted from it. */
        assert_int_equal(record(world,
                                         &reservation,
                                         &camera,
                                         (LedgerBuffer[]) { { 10, 100 * MIB }, { 11, 100 * MIB } },
                                         2),
                        0);
        assert_false(accounting_in_flight(world->accounting));
        assert_limit(world, &camera, "system", 500 * MIB, QUOTA_SCOPE_SYSTEM, "", 924 * MIB, 424 * MIB);

        disconnect(world, &camera);
}

/* The order in which limits are checked: client, user, client × heap, heap, system, others, then the control group,
 * then the memory of the machine. In each step all later limits would refuse the request as well. */
static void test_order_of_refusals(void **state) {
        static const struct {
                const char *configuration;
                QuotaScope scope;
                uint64_t limit;
        } steps[] = {
                { "ClientBytesMax=1M\nUserBytesMax=2M\nSystemBytesMax=5M\nKeepAvailable=600M\n"
                  "[Heap reserved]\nClientBytesMax=3M\nReserveBytes=58M\n",
                        QUOTA_SCOPE_CLIENT,
                        1 * MIB },
                { "UserBytesMax=2M\nSystemBytesMax=5M\nKeepAvailable=600M\n[Heap "
                  "reserved]\nClientBytesMax=3M\nReserveBytes=58M\n",
                        QUOTA_SCOPE_USER,
                        2 * MIB },
                { "SystemBytesMax=5M\nKeepAvailable=600M\n[Heap reserved]\nClientBytesMax=3M\nReserveBytes=58M\n",
                        QUOTA_SCOPE_HEAP,
                        3 * MIB },
                { "SystemBytesMax=5M\nKeepAvailable=600M\n[Heap reserved]\nClientBytesMax=infinity\nReserveBytes=58M\n",
                        QUOTA_SCOPE_HEAP,
                        64 * MIB },
                { "SystemBytesMax=5M\nKeepAvailable=600M\n[Heap reserved]\nClientBytesMax=infinity\nReserveBytes=58M\n",
                        QUOTA_SCOPE_SYSTEM,
                        5 * MIB },
                { "KeepAvailable=600M\n[Heap reserved]\nClientBytesMax=infinity\nReserveBytes=58M\n",
                        QUOTA_SCOPE_HEAP,
                        6 * MIB },
                { "KeepAvailable=600M\n[Heap reserved]\nClientBytesMax=infinity\n", QUOTA_SCOPE_CGROUP, 7 * MIB },
        };
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                _cleanup_world_ World *world = world_new(steps[i].configuration);
                Reservation reservation = {};
                AccountingRefusal refusal = {};
                uint64_t size = steps[i].limit == 64 * MIB ? 65 * MIB : 60 * MIB;

                add_cgroup(world, "/a", "7340032", 0);
                Caller a = connect_unit(world, "a.service", false, "/a", 1, 1);
                assert_int_equal(reserve(world, &a, "reserved", size, 1, &reservation, &refusal), -EDQUOT);
                if (refusal.scope != steps[i].scope || refusal.limit != steps[i].limit)
                        fail_msg("step %zu: scope %d, limit %llu",
                                        i,
                                        refusal.scope,
                                        (unsigned long long) refusal.limit);
                assert_account(&world->accounting->system, 0, 0, 0);
                disconnect(world, &a);
        }
}

/* With Enforce=no nothing is refused, and everything is charged. */
static void test_enforce_no(void **state) {
        _cleanup_world_ World *world = world_new("Enforce=no\nClientBytesMax=1M\nKeepAvailable=600M\n");
        (void) state;

        add_cgroup(world, "/system.slice/camera.service", "1048576", 0);
        Caller camera = connect_camera(world);
        allocate(world, &camera, "reserved", 65 * MIB, 1, 10);
        assert_held(world, camera.client, "reserved", 65 * MIB, 1, 0, false);
        disconnect(world, &camera);
}

/* A sum of bytes that passes 2^64 - 1 is an error, not a small sum. */
static void test_overflow(void **state) {
        _cleanup_world_ World *world = world_new("");
        Caller camera = connect_camera(world);
        Reservation reservation = {};
        AccountingRefusal refusal;
        (void) state;

        assert_int_equal(reserve(world, &camera, "system", UINT64_C(1) << 32, UINT32_MAX, &reservation, &refusal),
                        -EDQUOT);
        assert_int_equal(reserve(world, &camera, "system", (UINT64_C(1) << 33) + 1, UINT32_MAX, &reservation, &refusal),
                        -EOVERFLOW);
        assert_account(&world->accounting->system, 0, 0, 0);
        disconnect(world, &camera);
}

static void test_cgroup_gone(void **state) {
        _cleanup_world_ World *world = world_new("");
        Caller camera = connect_camera(world);
        Reservation reservation = {};
        AccountingRefusal refusal;
        char path[4096];
        (void) state;

        (void) snprintf(path, sizeof(path), "%s/cgroup/system.slice/camera.service/cgroup.procs", world->path);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(reserve(world, &camera, "system", 4096, 1, &reservation, &refusal), -ENOENT);
        assert_account(&world->accounting->system, 0, 0, 0);
        assert_account(&camera.client->account, 0, 0, 0);
        assert_int_equal(cgroup_sum(world, caller_ids(&camera)->ids[0]), 0);
        disconnect(world, &camera);
}

/* A reservation is charged to every account and control group, and is given back whole. */
static void test_reserve_and_release(void **state) {
        _cleanup_world_ World *world = world_new("");
        Caller camera = connect_camera(world);
        const CgroupIds *ids = caller_ids(&camera);
        Reservation reservation = {};
        AccountingRefusal refusal;
        (void) state;

        assert_int_equal(ids->n, 2);
        assert_int_equal(reserve(world, &camera, "reserved", 3 * MIB, 4, &reservation, &refusal), 0);
        assert_held(world, camera.client, "reserved", 12 * MIB, 4, 12 * MIB, false);
        assert_int_equal(cgroup_sum(world, ids->ids[0]), 12 * MIB);
        assert_int_equal(cgroup_sum(world, ids->ids[1]), 12 * MIB);

        accounting_release(world->accounting, &reservation);
        assert_held(world, camera.client, "reserved", 0, 0, 0, false);
        assert_int_equal(cgroup_sum(world, ids->ids[0]), 0);
        assert_int_equal(cgroup_sum(world, ids->ids[1]), 0);

        accounting_release(world->accounting, &reservation); /* empty */
        disconnect(world, &camera);
}

static void test_record(void **state) {
        _cleanup_world_ World *world = world_new("");
        Caller camera = connect_camera(world);
        Reservation reservation = {};
        AccountingRefusal refusal;
        LedgerBuffer buffers[] = { { 10, 3 * MIB }, { 11, 3 * MIB } };
        (void) state;

        for (unsigned kernel_charges = 0; kernel_charges <= 1; kernel_charges++) {
                world->heaps.mem_accounting = kernel_charges;
                assert_int_equal(reserve(world, &camera, "system", 3 * MIB, 2, &reservation, &refusal), 0);
                assert_int_equal(record(world, &reservation, &camera, buffers, 2), 0);
                assert_true(quota_charge_is_empty(&reservation.charge));
                assert_held(world, camera.client, "system", 6 * MIB, 2, 0, false);
                assert_int_equal(cgroup_sum(world, caller_ids(&camera)->ids[0]), kernel_charges ? 0 : 6 * MIB);
                assert_int_equal(cgroup_sum(world, caller_ids(&camera)->ids[1]), kernel_charges ? 0 : 6 * MIB);
                assert_int_equal(find_heap(world, "system")->bytes_used, 6 * MIB);

                const LedgerRecord *entry = ledger_find(accounting_ledger(world->accounting), 11);
                assert_int_equal(entry->size, 3 * MIB);
                assert_int_equal(entry->kernel_charges, kernel_charges);
                assert_string_equal(entry->heap, "system");
                assert_string_equal(entry->label, "frame");
                assert_string_equal(entry->owner->unit, "camera.service");
                assert_false(entry->owner->unit_is_user);
                assert_string_equal(entry->owner->cgroup, "/system.slice/camera.service");
                assert_memory_equal(&entry->owner->cgroup_ids, caller_ids(&camera), sizeof(CgroupIds));
                assert_int_equal(entry->owner->uid, 1000);
                assert_int_equal(entry->owner->user, 1000);

                /* No client has received the buffers. */
                accounting_withdraw(world->accounting, buffers, 2);
                assert_held(world, camera.client, "system", 0, 0, 0, false);
                assert_int_equal(cgroup_sum(world, caller_ids(&camera)->ids[0]), 0);
                assert_int_equal(find_heap(world, "system")->bytes_used, 0);
                assert_int_equal(ledger_n_records(accounting_ledger(world->accounting)), 0);
        }

        disconnect(world, &camera);
}

/* If an inode is in the ledger already, nothing is recorded and the reservation is unchanged. */
static void test_record_refused(void **state) {
        _cleanup_world_ World *world = world_new("");
        Caller camera = connect_camera(world);
        Reservation reservation = {};
        AccountingRefusal refusal;
        (void) state;

        allocate(world, &camera, "system", MIB, 1, 10);
        assert_int_equal(reserve(world, &camera, "system", MIB, 2, &reservation, &refusal), 0);
        assert_int_equal(record(world, &reservation, &camera, (LedgerBuffer[]) { { 11, MIB }, { 10, MIB } }, 2),
                        -EEXIST);
        assert_held(world, camera.client, "system", 3 * MIB, 3, 2 * MIB, false);
        assert_int_equal(cgroup_sum(world, caller_ids(&camera)->ids[0]), 3 * MIB);
        assert_int_equal(find_heap(world, "system")->bytes_used, MIB);
        assert_null(ledger_find(accounting_ledger(world->accounting), 11));

        accounting_release(world->accounting, &reservation);
        assert_held(world, camera.client, "system", MIB, 1, 0, false);
        disconnect(world, &camera);
}

/* Withdrawing some of several buffers ends the charges of those only. */
static void test_withdraw_some(void **state) {
        _cleanup_world_ World *world = world_new("");
        Caller camera = connect_camera(world);
        (void) state;

        allocate(world, &camera, "system", MIB, 3, 10);
        accounting_withdraw(world->accounting, (LedgerBuffer[]) { { 12, MIB }, { 10, MIB }, { 99, MIB } }, 3);
        assert_held(world, camera.client, "system", MIB, 1, 0, false);
        assert_int_equal(cgroup_sum(world, caller_ids(&camera)->ids[1]), MIB);
        assert_int_equal(find_heap(world, "system")->bytes_used, MIB);
        assert_non_null(ledger_find(accounting_ledger(world->accounting), 11));
        disconnect(world, &camera);
}

/* A census ends the records that it did not find, but none that is younger than its beginning. */
static void test_census(void **state) {
        _cleanup_world_ World *world = world_new("");
        Caller camera = connect_camera(world);
        const uint64_t alive[] = { 11 };
        const CensusResult census = { .inodes = (uint64_t *) alive, .n_entries = 1 };
        (void) state;

        allocate(world, &camera, "system", MIB, 2, 10);
        uint64_t sequence = accounting_on_census_begin(world->accounting);
        allocate(world, &camera, "system", MIB, 1, 12);

        accounting_on_census(&census, sequence, world->accounting);
        assert_held(world, camera.client, "system", 2 * MIB, 2, 0, false);
        assert_null(ledger_find(accounting_ledger(world->accounting), 10));
        assert_non_null(ledger_find(accounting_ledger(world->accounting), 12));
        assert_int_equal(cgroup_sum(world, caller_ids(&camera)->ids[0]), 2 * MIB);
        assert_int_equal(find_heap(world, "system")->bytes_used, 2 * MIB);

        sequence = accounting_on_census_begin(world->accounting);
        accounting_on_census(&census, sequence, world->accounting);
        assert_held(world, camera.client, "system", MIB, 1, 0, false);
        disconnect(world, &camera);
}

/* A client stays as long as it holds a buffer or a reservation. */
static void test_client_outlives_connection(void **state) {
        _cleanup_world_ World *world = world_new("");
        Caller camera = connect_camera(world);
        const Client *client = camera.client;
        Reservation reservation = {};
        AccountingRefusal refusal;
        (void) state;

        allocate(world, &camera, "system", MIB, 1, 10);
        disconnect(world, &camera);
        assert_ptr_equal(world->clients.clients, client);
        camera = connect_camera(world);
        assert_ptr_equal(camera.client, client);
        assert_held(world, client, "system", MIB, 1, 0, false);
        disconnect(world, &camera);
        accounting_on_census(&(CensusResult) {}, UINT64_MAX, world->accounting);
        assert_null(world->clients.clients);
        assert_null(world->clients.users);

        camera = connect_camera(world);
        assert_int_equal(reserve(world, &camera, "system", MIB, 1, &reservation, &refusal), 0);
        disconnect(world, &camera);
        assert_non_null(world->clients.clients);
        accounting_release(world->accounting, &reservation);
        assert_null(world->clients.clients);
}

/* After a restart every account holds what it held before, for records in both modes of accounting. */
static void test_adopt(void **state) {
        (void) state;

        for (unsigned kernel_charges = 0; kernel_charges <= 1; kernel_charges++) {
                _cleanup_world_ World *world = world_new("");
                const uint64_t alive[] = { 9, 10, 11, 12 };

                world->heaps.mem_accounting = kernel_charges;
                Caller camera = connect_camera(world);
                Caller second = connect_unit(
                                world, "display.service", false, "/system.slice/display.service", 33, 1000);
                CgroupIds ids = *caller_ids(&camera);
                allocate(world, &camera, "system", 3 * MIB, 2, 10);
                allocate(world, &camera, "reserved", 5 * MIB, 1, 12);
                allocate(world, &second, "system", 7 * MIB, 1, 13);
                disconnect(world, &camera);
                disconnect(world, &second);

                /* The mode in the record counts, not that of the kernel now. Buffer 13 has been freed meanwhile. */
                world_restart(world, !kernel_charges, alive, ELEMENTSOF(alive));
                const Client *client = world->clients.clients;
                assert_non_null(client);
                assert_null(client->next);
                assert_string_equal(client->identity.unit, "camera.service");
                assert_int_equal(client->user->uid, 1000);
                assert_int_equal(client->n_connections, 0);

                assert_account(&client->account, 11 * MIB, 3, 0);
                assert_account(&client->user->account, 11 * MIB, 3, 0);
                assert_account(share_of(world, client, "system"), 6 * MIB, 2, 0);
                assert_account(share_of(world, client, "reserved"), 5 * MIB, 1, 0);
                assert_account(&budget_of(world, "system")->total, 6 * MIB, 2, 0);
                assert_account(&budget_of(world, "system")->others, 6 * MIB, 2, 0);
                assert_account(&budget_of(world, "reserved")->total, 5 * MIB, 1, 0);
                assert_account(&budget_of(world, "reserved")->others, 5 * MIB, 1, 0);
                assert_account(&world->accounting->system, 11 * MIB, 3, 0);
                assert_int_equal(cgroup_sum(world, ids.ids[0]), kernel_charges ? 5 * MIB : 11 * MIB);
                assert_int_equal(cgroup_sum(world, ids.ids[1]), kernel_charges ? 5 * MIB : 11 * MIB);
                assert_int_equal(find_heap(world, "system")->bytes_used, 6 * MIB);
                assert_int_equal(find_heap(world, "reserved")->bytes_used, 5 * MIB);
                assert_false(accounting_in_flight(world->accounting));

                /* A new connection is of the same client, and the charges end with their buffers. */
                camera = connect_camera(world);
                assert_ptr_equal(camera.client, client);
                accounting_on_census(&(CensusResult) {}, UINT64_MAX, world->accounting);
                assert_held(world, client, "system", 0, 0, 0, false);
                assert_held(world, client, "reserved", 0, 0, 0, false);
                assert_int_equal(cgroup_sum(world, ids.ids[0]), 0);
                assert_int_equal(find_heap(world, "system")->bytes_used, 0);
                disconnect(world, &camera);
        }
}

/* Adopted bytes count against every limit. */
static void test_limits_after_restart(void **state) {
        _cleanup_world_ World *world =
                        world_new("UserBytesMax=40M\n[Heap reserved]\nReserveBytes=16M\nReserveFor=camera.service\n");
        (void) state;

        add_cgroup(world, "/system.slice/camera.service", "33554432", 0);
        Caller camera = connect_camera(world);
        Caller other = connect_unit(world, "a.service", false, "/system.slice/a.service", 1, 1);
        allocate(world, &camera, "reserved", 20 * MIB, 1, 10);
        allocate(world, &other, "reserved", 30 * MIB, 1, 11);
        disconnect(world, &camera);
        disconnect(world, &other);

        world_restart(world, false, (const uint64_t[]) { 10, 11 }, 2);
        camera = connect_camera(world);
        other = connect_unit(world, "a.service", false, "/system.slice/a.service", 1, 1);
        Caller second = connect_unit(world, "b.service", false, "/system.slice/b.service", 2, 1000);
        Caller third = connect_unit(world, "c.service", false, "/system.slice/c.service", 3, 3);

        assert_limit(world, &other, "reserved", 2 * MIB, QUOTA_SCOPE_HEAP, "reserved", 32 * MIB, 30 * MIB);
        assert_limit(world, &third, "reserved", 14 * MIB, QUOTA_SCOPE_HEAP, "reserved", 64 * MIB, 50 * MIB);
        assert_limit(world, &second, "system", 20 * MIB, QUOTA_SCOPE_USER, "1000", 40 * MIB, 20 * MIB);
        assert_limit(world,
                        &camera,
                        "system",
                        12 * MIB - WORKER,
                        QUOTA_SCOPE_CGROUP,
                        "/system.slice/camera.service",
                        32 * MIB,
                        20 * MIB + WORKER);

        disconnect(world, &camera);
        disconnect(world, &other);
        disconnect(world, &second);
        disconnect(world, &third);
}

/* Buffers of an unknown owner are charged to the system alone. */
static void test_adopt_unattributed(void **state) {
        _cleanup_world_ World *world = world_new("");
        const CgroupIds none = {};
        (void) state;

        assert_int_equal(ledger_add(accounting_ledger(world->accounting),
                                         &(LedgerEntry) {
                                                 .owner =
                                                                 &(Identity) {
                                                                         .cgroup = (char *) LEDGER_UNATTRIBUTED,
                                                                         .cgroup_ids = none,
                                                                         .uid = (uid_t) -1,
                                                                         .user = (uid_t) -1,
                                                                 },
                                                 .heap = "system",
                                         },
                                         &(LedgerBuffer) { 10, 3 * MIB },
                                         1,
                                         NULL),
                        0);
        world_restart(world, false, (const uint64_t[]) { 10 }, 1);

        assert_null(world->clients.clients);
        assert_account(&world->accounting->system, 3 * MIB, 1, 0);
        assert_account(&budget_of(world, "system")->total, 0, 0, 0);
        assert_int_equal(find_heap(world, "system")->bytes_used, 3 * MIB);
        accounting_on_census(&(CensusResult) {}, UINT64_MAX, world->accounting);
        assert_account(&world->accounting->system, 0, 0, 0);
}

/* Without a census nothing is retired. */
static void test_adopt_without_census(void **state) {
        _cleanup_world_ World *world = world_new("");
        Caller camera = connect_camera(world);
        (void) state;

        allocate(world, &camera, "system", MIB, 2, 10);
        disconnect(world, &camera);
        world_end(world);
        world_begin(world);
        assert_int_equal(accounting_adopt(world->accounting, NULL), 0);
        assert_held(world, world->clients.clients, "system", 2 * MIB, 2, 0, false);
}

/* When a reload gives a client a part in the reserve, or takes it, its charges leave or enter the others' account. */
static void test_reload(void **state) {
        _cleanup_world_ World *world = world_new("");
        Caller camera = connect_camera(world);
        (void) state;

        allocate(world, &camera, "reserved", 5 * MIB, 2, 10);
        assert_held(world, camera.client, "reserved", 10 * MIB, 2, 0, false);

        world_configure(world, "[Heap reserved]\nReserveBytes=16M\nReserveFor=camera.service\n");
        assert_int_equal(accounting_config_changed(world->accounting), 0);
        assert_held(world, camera.client, "reserved", 10 * MIB, 2, 0, true);
        assert_int_equal(cgroup_sum(world, caller_ids(&camera)->ids[0]), 10 * MIB);

        world_configure(world, "[Heap reserved]\nReserveBytes=16M\nReserveFor=other.service\n");
        assert_int_equal(accounting_config_changed(world->accounting), 0);
        assert_held(world, camera.client, "reserved", 10 * MIB, 2, 0, false);
        disconnect(world, &camera);
}

/* A peer may use a heap by its uid, a group or its unit; a rule for one name of a region is for all of them. */
static void test_may_use(void **state) {
        _cleanup_world_ World *world =
                        world_new("[Heap reserved]\nAllowUsers=1000\nAllowGroups=44\nAllowUnits=a.service\n");
        Caller camera = connect_camera(world);
        Caller a = connect_unit(world, "a.service", false, "/a", 1, 1);
        Caller user_a = connect_unit(world, "a.service", true, "/u", 1, 1);
        gid_t groups[] = { 5, 44 };
        (void) state;

        static const char *const heaps[] = { "reserved", HEAP_DEFAULT_CMA_REGION };
        for (size_t i = 0; i < ELEMENTSOF(heaps); i++) {
                assert_true(accounting_may_use(world->accounting, &camera.peer, find_heap(world, heaps[i])));
                assert_true(accounting_may_use(world->accounting, &a.peer, find_heap(world, heaps[i])));
                assert_false(accounting_may_use(world->accounting, &user_a.peer, find_heap(world, heaps[i])));
        }
        assert_true(accounting_may_use(world->accounting, &user_a.peer, find_heap(world, "system")));

        user_a.peer.groups = groups;
        user_a.peer.n_groups = 2;
        assert_true(accounting_may_use(world->accounting, &user_a.peer, find_heap(world, "reserved")));
        user_a.peer.n_groups = 1;
        assert_false(accounting_may_use(world->accounting, &user_a.peer, find_heap(world, "reserved")));

        disconnect(world, &camera);
        disconnect(world, &a);
        disconnect(world, &user_a);
}

/* What a client holds of each region or heap, with its limit. Those of which it holds nothing are left out. */
static void test_usage(void **state) {
        _cleanup_world_ World *world = world_new("ClientBytesMax=40M\n[Heap default_cma_region]\nClientBytesMax=20M\n");
        Caller camera = connect_camera(world);
        HeapUsage usage = {};
        PolicyLimits limits;
        (void) state;

        accounting_limits(world->accounting, camera.client, &limits);
        assert_int_equal(limits.client_bytes, 40 * MIB);
        assert_int_equal(limits.heap_client_bytes, LIMIT_INFINITY);

        assert_false(accounting_next_usage(world->accounting, camera.client, &usage));
        allocate(world, &camera, HEAP_DEFAULT_CMA_REGION, 3 * MIB, 1, 10);
        allocate(world, &camera, "system", 7 * MIB, 1, 11);
        allocate(world, &camera, "reserved", 4 * MIB, 1, 12);

        assert_true(accounting_next_usage(world->accounting, camera.client, &usage));
        assert_ptr_equal(usage.heap, find_heap(world, "system"));
        assert_int_equal(usage.bytes_used, 7 * MIB);
        assert_int_equal(usage.bytes_max, LIMIT_INFINITY);
        assert_true(accounting_next_usage(world->accounting, camera.client, &usage));
        assert_ptr_equal(usage.heap, find_heap(world, HEAP_DEFAULT_CMA_REGION));
        assert_int_equal(usage.bytes_used, 7 * MIB);
        assert_int_equal(usage.bytes_max, 20 * MIB);
        assert_false(accounting_next_usage(world->accounting, camera.client, &usage));

        accounting_withdraw(world->accounting, (LedgerBuffer[]) { { 11, 7 * MIB } }, 1);
        usage = (HeapUsage) {};
        assert_true(accounting_next_usage(world->accounting, camera.client, &usage));
        assert_ptr_equal(usage.heap, find_heap(world, HEAP_DEFAULT_CMA_REGION));
        assert_false(accounting_next_usage(world->accounting, camera.client, &usage));

        disconnect(world, &camera);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_client_limit),
                cmocka_unit_test(test_user_limit),
                cmocka_unit_test(test_heap_limits),
                cmocka_unit_test(test_system_limit),
                cmocka_unit_test(test_cgroup_limit),
                cmocka_unit_test(test_memory_limit),
                cmocka_unit_test(test_order_of_refusals),
                cmocka_unit_test(test_enforce_no),
                cmocka_unit_test(test_overflow),
                cmocka_unit_test(test_cgroup_gone),
                cmocka_unit_test(test_reserve_and_release),
                cmocka_unit_test(test_record),
                cmocka_unit_test(test_record_refused),
                cmocka_unit_test(test_withdraw_some),
                cmocka_unit_test(test_census),
                cmocka_unit_test(test_client_outlives_connection),
                cmocka_unit_test(test_adopt),
                cmocka_unit_test(test_limits_after_restart),
                cmocka_unit_test(test_adopt_unattributed),
                cmocka_unit_test(test_adopt_without_census),
                cmocka_unit_test(test_reload),
                cmocka_unit_test(test_may_use),
                cmocka_unit_test(test_usage),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
