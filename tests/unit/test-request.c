/* SPDX-License-Identifier: GPL-2.0-only */

/* The life of an Allocate request. The choice of the heap, the registry and the event loop are the real ones. The
 * linker takes the accounting, the worker pool, the scan, the module loader and open(2) from below, so that each can
 * answer as a test wants and each order of events can be had. */

#include <fcntl.h>
#include <stdio.h>

#include "heap/heap-udmabuf.h"
#include "request.h"
#include "unit.h"
#include "util/time-util.h"
#include "varlink/allocate-parameters.h"

#define MIB (UINT64_C(1024) * 1024)
#define NAMES(...) ((const char *const[]) { __VA_ARGS__, NULL })

struct RoundWait {
        round_done_t on_done;
        void *userdata;
};

struct ModuleLoad {
        char unused;
};

struct WorkerJob {
        WorkerJobParameters parameters;
        worker_done_t on_done;
        void *userdata;
        bool killed;
};

static struct {
        sd_event *event;
        HeapRegistry registry;
        Allocator allocator;
        Peer peer;
        Client client;
        Connection connection;
        Role only_role;

        /* The answers of the fakes. */
        const char *const *denied;
        const char *obstacle;
        int reserve_results[8]; /* one for each accounting_reserve() */
        unsigned n_reserves;
        AccountingRefusal refusal;
        bool in_flight;
        int record_result;
        int open_errno; /* of the next device that is opened; 0: it can be */
        uint64_t udmabuf_max;

        /* The calls that they have seen. */
        RoundWait *census_wait;
        unsigned n_census_waits;
        ModuleLoad *load;
        WorkerJob *job;
        unsigned n_jobs;
        unsigned n_held;     /* reservations that are neither released nor recorded */
        unsigned n_recorded; /* buffers in the ledger */
        char opened[128];
        char recorded_label[32];

        /* The reply. */
        bool deliver;
        AllocateRequest *request;
        unsigned n_replies;
        AllocateReply reply; /* of its pointers only static strings stay good */
        char heap[65], role[65], reason[256], resource[32], parameter[32];
        AccountingRefusal told;
        unsigned n_recorded_at_reply;
} t;

bool accounting_may_use(const Accounting *accounting, const Peer *peer, const Heap *heap) {
        (void) accounting;
        assert_ptr_equal(peer, &t.peer);
        return !t.denied || !strv_contains((char *const *) t.denied, heap->name);
}

const char *accounting_obstacle(const Accounting *accounting) {
        (void) accounting;
        return t.obstacle;
}

int accounting_reserve(Accounting *accounting, const Peer *peer, Client *client, Heap *heap, uint64_t size,
                uint32_t n_buffers, Reservation *ret, AccountingRefusal *ret_refusal) {
        (void) accounting;
        (void) size;
        (void) n_buffers;
        assert_non_null(heap);
        assert_ptr_equal(peer, &t.peer);
        assert_ptr_equal(client, &t.client);
        assert_null(ret->client);
        assert_true(t.n_reserves < ELEMENTSOF(t.reserve_results));

        int r = t.reserve_results[t.n_reserves++];
        if (r == -EDQUOT)
                *ret_refusal = t.refusal;
        if (r < 0)
                return r;

        ret->client = client;
        ret->heap = heap;
        t.n_held++;
        return 0;
}

void accounting_release(Accounting *accounting, Reservation *reservation) {
        (void) accounting;
        if (!reservation->client)
                return;

        *reservation = (Reservation) {};
        t.n_held--;
}

int accounting_record(Accounting *accounting, Reservation *reservation, const Peer *peer, const char *label,
                const LedgerBuffer *buffers, uint32_t n_buffers) {
        (void) accounting;
        assert_ptr_equal(peer, &t.peer);
        assert_non_null(reservation->client);
        if (t.record_result < 0)
                return t.record_result;

        for (uint32_t i = 0; i < n_buffers; i++) {
                assert_int_equal(buffers[i].inode, 100 + i);
                assert_int_equal(buffers[i].size, t.job->parameters.size);
        }
        (void) snprintf(t.recorded_label, sizeof(t.recorded_label), "%s", label ?: "");
        t.n_recorded += n_buffers;
        *reservation = (Reservation) {};
        t.n_held--;
        return 0;
}

void accounting_withdraw(Accounting *accounting, const LedgerBuffer *buffers, uint32_t n_buffers) {
        (void) accounting;
        for (uint32_t i = 0; i < n_buffers; i++)
                assert_int_equal(buffers[i].inode, 100 + i);
        t.n_recorded -= n_buffers;
}

int accounting_wait_census(Accounting *accounting, round_done_t on_done, void *userdata, RoundWait **ret) {
        (void) accounting;
        assert_null(t.census_wait);
        t.census_wait = malloc(sizeof(RoundWait));
        assert_non_null(t.census_wait);
        *t.census_wait = (RoundWait) { on_done, userdata };
        t.n_census_waits++;
        *ret = t.census_wait;
        return 0;
}

bool accounting_in_flight(const Accounting *accounting) {
        (void) accounting;
        return t.in_flight;
}

RoundWait *round_wait_cancel(RoundWait *wait) {
        if (wait) {
                assert_ptr_equal(wait, t.census_wait);
                t.census_wait = NULL;
                free(wait);
        }
        return NULL;
}

int heap_scan_wait(HeapScan *scan, round_done_t on_scanned, void *userdata, RoundWait **ret) {
        return accounting_wait_census((Accounting *) scan, on_scanned, userdata, ret);
}

bool heap_scan_is_recent(const HeapScan *scan) {
        (void) scan;
        return true;
}

ModuleLoader *heap_scan_loader(HeapScan *scan) {
        (void) scan;
        return NULL;
}

int module_loader_load(ModuleLoader *loader, const char *heap, const char *module, module_loaded_t on_loaded,
                void *userdata, ModuleLoad **ret) {
        (void) loader;
        (void) heap;
        (void) module;
        (void) on_loaded;
        (void) userdata;
        assert_null(t.load);
        t.load = malloc(sizeof(ModuleLoad));
        assert_non_null(t.load);
        *ret = t.load;
        return 0;
}

ModuleLoad *module_load_cancel(ModuleLoad *load) {
        if (load) {
                assert_ptr_equal(load, t.load);
                t.load = NULL;
                free(load);
        }
        return NULL;
}

int device_monitor_enumerate(DeviceMonitor *monitor) {
        (void) monitor;
        return 0;
}

bool heap_udmabuf_refuses(const char *sysfs, uint64_t size, char ret_reason[static UDMABUF_REASON_LENGTH]) {
        assert_string_equal(sysfs, "/sys");
        if (size <= t.udmabuf_max)
                return false;

        (void) snprintf(ret_reason, UDMABUF_REASON_LENGTH, "past udmabuf's limit");
        return true;
}

int worker_pool_submit(WorkerPool *pool, const WorkerJobParameters *parameters, worker_done_t on_done, void *userdata,
                WorkerJob **ret) {
        (void) pool;
        assert_null(t.job);
        t.job = malloc(sizeof(WorkerJob));
        assert_non_null(t.job);
        *t.job = (WorkerJob) { .parameters = *parameters, .on_done = on_done, .userdata = userdata };
        t.n_jobs++;
        *ret = t.job;
        return 0;
}

void worker_job_kill(WorkerJob *job) {
        assert_ptr_equal(job, t.job);
        job->killed = true;
}

/* The devices of heaps are not here: --wrap, see meson.build. */
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...) {
        assert_true(flags & O_CLOEXEC);
        (void) snprintf(t.opened, sizeof(t.opened), "%s", path);
        errno = t.open_errno;
        t.open_errno = 0;
        return errno > 0 ? -1 : dup(STDIN_FILENO);
}

static void copy(char to[static 32], size_t size, const char *from) {
        (void) snprintf(to, size, "%s", from ?: "");
}

static bool on_replied(const AllocateReply *reply, void *userdata) {
        assert_ptr_equal(userdata, &t);
        t.request = NULL;
        t.n_replies++;
        t.reply = *reply;
        t.n_recorded_at_reply = t.n_recorded;
        copy(t.heap, sizeof(t.heap), reply->heap);
        copy(t.role, sizeof(t.role), reply->role);
        copy(t.reason, sizeof(t.reason), reply->reason);
        copy(t.resource, sizeof(t.resource), reply->resource);
        copy(t.parameter, sizeof(t.parameter), reply->parameter);
        if (reply->refusal)
                t.told = *reply->refusal;
        return reply->error == ALLOCATE_SUCCESS && t.deliver;
}

static int setup(void **state) {
        (void) state;
        memset(&t, 0, sizeof(t));
        t.deliver = true;
        t.udmabuf_max = UINT64_MAX;
        assert_true(sd_event_new(&t.event) >= 0);
        t.peer.cgroup_fd = STDIN_FILENO;
        t.peer.identity.cgroup_ids = (CgroupIds) { { 4711 }, 1 };
        t.connection = (Connection) { .peer = &t.peer, .client = &t.client, .admitted = true };
        heap_registry_init(&t.registry, NULL, NULL);
        t.allocator = (Allocator) { .heaps = { .event = t.event, .registry = &t.registry },
                .timeout_usec = UINT64_MAX };
        return 0;
}

static int teardown(void **state) {
        (void) state;
        assert_null(t.request);
        assert_null(t.allocator.requests);
        assert_null(t.census_wait);
        assert_null(t.load);
        assert_null(t.job);
        assert_int_equal(t.n_held, 0);
        heap_registry_done(&t.registry);
        t.event = sd_event_unref(t.event);
        return 0;
}

static void settle(void) {
        while (sd_event_run(t.event, 0) > 0)
                ;
}

/* Size and count are a page and one where a test does not care. */
static void begin(AllocateParameters parameters) {
        parameters.size = parameters.size ?: 4096;
        parameters.n_buffers = parameters.n_buffers ?: 1;
        t.n_replies = 0;
        t.n_reserves = t.n_census_waits = t.n_jobs = 0;
        assert_null(allocate_parameters_check(&parameters));
        assert_int_equal(allocate_request_new(&t.allocator, &t.connection, &parameters, on_replied, &t, &t.request), 0);
        assert_int_equal(t.n_replies, 0);
        settle();
}
#define BEGIN(...) begin((AllocateParameters) { __VA_ARGS__ })

static void finish_census(void) {
        RoundWait *wait = TAKE_PTR(t.census_wait);
        RoundWait done;

        assert_non_null(wait);
        done = *wait;
        free(wait);
        done.on_done(done.userdata);
        settle();
}

static void finish_job(WorkerResult *result) {
        WorkerJob *job = t.job;

        assert_non_null(job);
        job->on_done(result, job->userdata);
        assert_ptr_equal(t.job, job);
        t.job = NULL;
        free(job);
        settle();
}
#define FINISH_JOB(...) finish_job(&(WorkerResult) { __VA_ARGS__ })

/* As many buffers as were asked for, numbered from 100. */
static void finish_job_with_buffers(void) {
        WorkerBuffer buffers[BUFFERS_MAX];
        uint32_t n = t.job->parameters.n_buffers;

        for (uint32_t i = 0; i < n; i++)
                buffers[i] = (WorkerBuffer) { .fd = -EBADF, .inode = 100 + i };
        FINISH_JOB(.outcome = WORKER_ALLOCATED, .buffers = buffers, .n_buffers = n);
}

/* There was one reply since the request began, and it was this. */
static void assert_told(AllocateError error) {
        assert_int_equal(t.n_replies, 1);
        assert_int_equal(t.reply.error, error);
        assert_null(t.request);
}

static void assert_told_heap(AllocateError error, const char *heap) {
        assert_told(error);
        assert_string_equal(t.heap, heap);
}

static void assert_told_resource(const char *resource) {
        assert_told(ALLOCATE_OUT_OF_RESOURCES);
        assert_string_equal(t.resource, resource);
}

static void assert_told_parameter(const char *parameter) {
        assert_told(ALLOCATE_INVALID_PARAMETER);
        assert_string_equal(t.parameter, parameter);
}

static void assert_told_unavailable(const char *heap, const char *reason) {
        assert_told_heap(ALLOCATE_HEAP_UNAVAILABLE, heap);
        assert_string_equal(t.reason, reason);
}

static void appeared(const char *heap) {
        assert_int_equal(heap_registry_appeared(&t.registry, heap), 0);
}

/* The one role there is. */
static void set_role(const char *name, const char *const *heaps) {
        t.only_role = (Role) { .name = (char *) name, .heaps = (char **) heaps };
        heap_registry_set_roles(&t.registry, &t.only_role);
}

static void add_region(const char *name, uint64_t size) {
        assert_int_equal(heap_registry_add_region(&t.registry, name, size, false), 0);
}

static void test_success(void **state) {
        (void) state;
        appeared("system");

        BEGIN(.heap = "system", .size = 4097, .n_buffers = 253, .label = "frame", .read_only = true);
        assert_string_equal(t.opened, "/dev/dma_heap/system");
        assert_int_equal(t.job->parameters.size, 8192);
        assert_int_equal(t.job->parameters.n_buffers, 253);
        assert_int_equal(t.job->parameters.flags, WORKER_READ_ONLY);
        assert_int_equal(t.job->parameters.cgroup_id, 4711);
        assert_ptr_equal(t.job->parameters.client, &t.client);
        assert_int_equal(t.n_held, 1);

        finish_job_with_buffers();
        assert_told_heap(ALLOCATE_SUCCESS, "system");
        assert_int_equal(t.reply.n_buffers, 253);
        assert_int_equal(t.reply.size, 8192);
        assert_string_equal(t.recorded_label, "frame");

        /* They were in the ledger before the client had them, and stay there. */
        assert_int_equal(t.n_recorded_at_reply, 253);
        assert_int_equal(t.n_recorded, 253);
}

static void test_not_delivered(void **state) {
        (void) state;
        appeared("system");
        t.deliver = false;

        BEGIN(.heap = "system", .n_buffers = 3);
        finish_job_with_buffers();
        assert_told(ALLOCATE_SUCCESS);
        assert_int_equal(t.n_recorded_at_reply, 3);
        assert_int_equal(t.n_recorded, 0);
}

static void test_not_recorded(void **state) {
        (void) state;
        appeared("system");

        t.record_result = -ENOSPC;
        BEGIN(.heap = "system");
        finish_job_with_buffers();
        assert_told_resource("ledger");
        assert_int_equal(t.n_held, 0);

        t.record_result = -EEXIST; /* a worker that lies */
        BEGIN(.heap = "system");
        finish_job_with_buffers();
        assert_told_resource("processes");
        assert_int_equal(t.n_recorded, 0);
}

static void test_role(void **state) {
        (void) state;
        appeared("system");

        BEGIN(.heap = NULL);
        finish_census(); /* for a scan: there is no such role */
        assert_told(ALLOCATE_NO_SUCH_HEAP);
        assert_string_equal(t.role, "system");
        assert_string_equal(t.heap, "");

        set_role("system", NAMES("system"));
        BEGIN(.heap = NULL);
        finish_job_with_buffers();
        assert_told_heap(ALLOCATE_SUCCESS, "system");

        BEGIN(.role = "other");
        finish_census();
        assert_told(ALLOCATE_NO_SUCH_HEAP);
        assert_string_equal(t.role, "other");

        BEGIN(.heap = HEAP_UDMABUF);
        assert_told_unavailable(HEAP_UDMABUF, "this kernel has no /dev/udmabuf");
}

static void test_denied(void **state) {
        (void) state;
        appeared("camera");
        t.denied = NAMES("camera");

        BEGIN(.heap = "camera");
        assert_told(ALLOCATE_PERMISSION_DENIED);
        assert_int_equal(t.n_reserves, 0);
}

static void test_too_small(void **state) {
        (void) state;
        appeared("camera");
        appeared("npu");
        add_region("camera", 2 * MIB);
        add_region("npu", 4 * MIB);
        set_role("r", NAMES("camera", "npu"));

        BEGIN(.heap = "camera", .size = 2 * MIB + 1);
        assert_told_parameter("size");
        BEGIN(.heap = "camera", .size = 2 * MIB);
        finish_job_with_buffers();
        assert_told_heap(ALLOCATE_SUCCESS, "camera");

        BEGIN(.role = "r", .size = 2 * MIB + 1);
        finish_job_with_buffers();
        assert_told_heap(ALLOCATE_SUCCESS, "npu");
        BEGIN(.role = "r", .size = 4 * MIB + 1);
        assert_told_parameter("size");

        /* The first heap's error is told: here that it cannot be opened. */
        t.open_errno = EACCES;
        BEGIN(.role = "r", .size = 2 * MIB);
        finish_job_with_buffers();
        assert_told_heap(ALLOCATE_SUCCESS, "npu");
        t.denied = NAMES("npu");
        t.open_errno = EACCES;
        BEGIN(.role = "r", .size = 2 * MIB);
        assert_told_unavailable("camera", "/dev/dma_heap/camera cannot be opened: Permission denied");

        /* And here that it is too small. */
        t.denied = NULL;
        t.open_errno = EACCES;
        BEGIN(.role = "r", .size = 4 * MIB);
        assert_told_parameter("size");
}

static void test_udmabuf(void **state) {
        (void) state;
        appeared(HEAP_UDMABUF);
        set_role("r", NAMES(HEAP_UDMABUF, "other"));
        t.udmabuf_max = MIB;

        BEGIN(.heap = HEAP_UDMABUF, .size = MIB);
        assert_string_equal(t.opened, "/dev/udmabuf");
        assert_int_equal(t.job->parameters.flags, WORKER_UDMABUF);
        finish_job_with_buffers();
        assert_told_heap(ALLOCATE_SUCCESS, HEAP_UDMABUF);

        BEGIN(.heap = HEAP_UDMABUF, .size = MIB + 1);
        assert_told_unavailable(HEAP_UDMABUF, "past udmabuf's limit");
        BEGIN(.role = "r", .size = MIB + 1);
        assert_told_unavailable(HEAP_UDMABUF, "past udmabuf's limit");

        BEGIN(.heap = HEAP_UDMABUF, .size = MIB + 1, .read_only = true);
        assert_told_parameter("access");
        BEGIN(.role = "r", .size = MIB + 1, .read_only = true);
        assert_told_unavailable(HEAP_UDMABUF, "udmabuf's buffers cannot be read-only");

        assert_int_equal(heap_registry_declare(&t.registry, "other", "other_heap", true), 0);
        assert_int_equal(heap_registry_failed(&t.registry, "other", "other_heap", "no", now_usec()), 0);
        BEGIN(.role = "r", .read_only = true);
        allocate_request_cancel(TAKE_PTR(t.request)); /* it has gone on to the next */
}

static void test_not_opened(void **state) {
        (void) state;
        appeared("system");

        t.open_errno = EMFILE;
        BEGIN(.heap = "system");
        assert_told_resource("fileDescriptors");
        t.open_errno = ENFILE;
        BEGIN(.heap = "system");
        assert_told_resource("fileDescriptors");
        t.open_errno = ENODEV;
        BEGIN(.heap = "system");
        assert_told_unavailable("system", "/dev/dma_heap/system cannot be opened: No such device");
        assert_int_equal(t.n_held, 0);
}

/* Each result of a worker has its error. */
static void test_worker_outcomes(void **state) {
        static const struct {
                WorkerResult result;
                AllocateError error;
                const char *text; /* the resource, or the reason */
        } rows[] = {
                { { .outcome = WORKER_ERROR, .error = -ENOMEM }, ALLOCATE_OUT_OF_MEMORY, "" },
                { { .outcome = WORKER_ERROR, .error = -EMFILE }, ALLOCATE_OUT_OF_RESOURCES, "fileDescriptors" },
                { { .outcome = WORKER_ERROR, .error = -ENFILE }, ALLOCATE_OUT_OF_RESOURCES, "fileDescriptors" },
                { { .outcome = WORKER_ERROR, .error = -ETOOMANYREFS }, ALLOCATE_OUT_OF_RESOURCES, "inFlight" },
                { { .outcome = WORKER_ERROR, .error = -EINVAL },
                        ALLOCATE_HEAP_UNAVAILABLE,
                        "the kernel refused the allocation: Invalid argument" },
                { { .outcome = WORKER_OOM_KILLED }, ALLOCATE_OUT_OF_MEMORY, "" },
                { { .outcome = WORKER_NO_CGROUP }, ALLOCATE_OUT_OF_RESOURCES, "cgroup" },
                { { .outcome = WORKER_NO_PROCESS }, ALLOCATE_OUT_OF_RESOURCES, "processes" },
                { { .outcome = WORKER_KILLED }, ALLOCATE_OUT_OF_RESOURCES, "processes" },
        };
        (void) state;
        appeared("system");

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                WorkerResult result = rows[i].result;

                BEGIN(.heap = "system");
                finish_job(&result);
                if (t.n_replies != 1 || t.reply.error != rows[i].error ||
                                strcmp(t.reason[0] ? t.reason : t.resource, rows[i].text) != 0)
                        fail_msg("row %zu: error %d, '%s%s'", i, (int) t.reply.error, t.reason, t.resource);
                if (rows[i].error != ALLOCATE_OUT_OF_RESOURCES)
                        assert_string_equal(t.heap, "system");
                assert_int_equal(t.n_held, 0);
        }
}

static void test_reserve_fails(void **state) {
        (void) state;
        appeared("system");

        t.reserve_results[0] = -ENOENT;
        BEGIN(.heap = "system");
        assert_told_resource("cgroup");
        t.reserve_results[0] = -ENOMEM;
        BEGIN(.heap = "system");
        assert_told_heap(ALLOCATE_OUT_OF_MEMORY, "system");

        t.obstacle = "buffers cannot be counted";
        BEGIN(.heap = "system");
        assert_told_unavailable("system", "buffers cannot be counted");
        assert_int_equal(t.n_reserves, 0);
}

/* Over a limit of its own: one census is waited for, as the limit may not be reached any more. */
static void test_over_a_limit(void **state) {
        (void) state;
        appeared("system");
        t.refusal = (AccountingRefusal) { .scope = QUOTA_SCOPE_CLIENT, .limit = 1, .used = 2, .requested = 3 };

        t.reserve_results[0] = -EDQUOT;
        BEGIN(.heap = "system");
        assert_int_equal(t.n_replies, 0);
        finish_census();
        finish_job_with_buffers();
        assert_told(ALLOCATE_SUCCESS);

        t.in_flight = true;
        t.reserve_results[1] = -EDQUOT;
        BEGIN(.heap = "system");
        finish_census();
        assert_told(ALLOCATE_QUOTA_EXCEEDED);
        assert_int_equal(t.told.used, 2);
        assert_int_equal(t.n_census_waits, 1);
        assert_int_equal(t.n_jobs, 0);
}

/* Where the memory was found short while others are served, it is asked again for a second. */
static void test_memory_is_short(void **state) {
        static const QuotaScope scopes[] = { QUOTA_SCOPE_CGROUP, QUOTA_SCOPE_SYSTEM };
        (void) state;
        appeared("system");

        for (size_t i = 0; i < ELEMENTSOF(scopes); i++) {
                t.refusal.scope = scopes[i];
                for (size_t j = 0; j < ELEMENTSOF(t.reserve_results); j++)
                        t.reserve_results[j] = -EDQUOT;

                t.in_flight = false;
                BEGIN(.heap = "system");
                finish_census();
                assert_told(ALLOCATE_QUOTA_EXCEEDED);

                t.in_flight = true;
                BEGIN(.heap = "system");
                finish_census();
                finish_census();
                finish_census();
                assert_int_equal(t.n_replies, 0);
                t.in_flight = false;
                finish_census();
                assert_told(ALLOCATE_QUOTA_EXCEEDED);
                assert_int_equal(t.n_census_waits, 4);

                t.in_flight = true;
                BEGIN(.heap = "system");
                finish_census();
                assert_int_equal(t.n_replies, 0);
                usleep(1000 * 1000 + 1); /* the second itself is what is tested */
                finish_census();
                assert_told(ALLOCATE_QUOTA_EXCEEDED);
        }
}

/* A region that is full is tried again after a census, once. */
static void test_full_region(void **state) {
        (void) state;
        appeared("camera");
        add_region("camera", MIB);

        BEGIN(.heap = "camera");
        FINISH_JOB(.outcome = WORKER_ERROR, .error = -ENOMEM);
        assert_int_equal(t.n_replies, 0);
        assert_int_equal(t.n_held, 0);
        finish_census();
        finish_job_with_buffers();
        assert_told(ALLOCATE_SUCCESS);

        BEGIN(.heap = "camera");
        FINISH_JOB(.outcome = WORKER_ERROR, .error = -ENOMEM);
        finish_census();
        FINISH_JOB(.outcome = WORKER_ERROR, .error = -ENOMEM);
        assert_told_heap(ALLOCATE_OUT_OF_MEMORY, "camera");
        assert_int_equal(t.n_jobs, 2);

        BEGIN(.heap = "camera");
        FINISH_JOB(.outcome = WORKER_ERROR, .error = -EINVAL);
        assert_told(ALLOCATE_HEAP_UNAVAILABLE);

        /* One whose size the kernel does not tell may be no region at all. */
        appeared("npu");
        add_region("npu", 0);
        BEGIN(.heap = "npu", .size = 4 * MIB);
        FINISH_JOB(.outcome = WORKER_ERROR, .error = -ENOMEM);
        assert_told(ALLOCATE_OUT_OF_MEMORY);
}

/* There is no reply after that, and the reservation is given back when the memory is surely free. */
static void test_cancelled(void **state) {
        (void) state;
        appeared("system");

        t.n_replies = 0; /* before the heap is chosen */
        assert_int_equal(allocate_request_new(&t.allocator,
                                         &t.connection,
                                         &(AllocateParameters) { .heap = "system", .size = 1, .n_buffers = 1 },
                                         on_replied,
                                         &t,
                                         &t.request),
                        0);
        allocate_request_cancel(TAKE_PTR(t.request));
        assert_null(t.allocator.requests);
        settle();

        BEGIN(.heap = "invented"); /* while a module is loaded */
        assert_non_null(t.load);
        allocate_request_cancel(TAKE_PTR(t.request));
        assert_null(t.load);

        t.reserve_results[0] = -EDQUOT; /* while a census is taken */
        BEGIN(.heap = "system");
        assert_non_null(t.census_wait);
        allocate_request_cancel(TAKE_PTR(t.request));
        assert_null(t.census_wait);

        t.reserve_results[0] = 0; /* while a worker allocates */
        BEGIN(.heap = "system");
        allocate_request_cancel(TAKE_PTR(t.request));
        assert_true(t.job->killed);
        assert_int_equal(t.n_held, 1);
        assert_non_null(t.allocator.requests);
        finish_job_with_buffers(); /* it was too late to stop it */

        assert_null(t.allocator.requests);
        assert_int_equal(t.n_held, 0);
        assert_int_equal(t.n_recorded, 0);
        assert_int_equal(t.n_replies, 0);
}

static void test_deadline(void **state) {
        (void) state;
        appeared("system");
        t.allocator.timeout_usec = 20 * USEC_PER_MSEC;

        BEGIN(.heap = "system");
        while (t.n_replies == 0)
                assert_true(sd_event_run(t.event, 5 * USEC_PER_SEC) > 0);
        assert_told_heap(ALLOCATE_TIMED_OUT, "system");

        /* The job is not over yet, and its memory not free. */
        assert_true(t.job->killed);
        assert_int_equal(t.n_held, 1);
        FINISH_JOB(.outcome = WORKER_KILLED);
        assert_int_equal(t.n_replies, 1);
        assert_int_equal(t.n_held, 0);

        /* Before a heap is found the error has the role that was asked for. */
        BEGIN(.role = "no-such-role");
        while (t.n_replies == 0)
                assert_true(sd_event_run(t.event, 5 * USEC_PER_SEC) > 0);
        assert_told_heap(ALLOCATE_TIMED_OUT, "no-such-role");
        assert_null(t.census_wait);
}

/* The daemon ends: nobody is called. */
static void test_freed(void **state) {
        (void) state;
        appeared("system");

        t.reserve_results[0] = -EDQUOT;
        BEGIN(.heap = "system");
        allocator_done(&t.allocator);
        t.request = NULL;
        assert_null(t.census_wait);
        assert_int_equal(t.n_replies, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_success, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_delivered, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_recorded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_role, setup, teardown),
                cmocka_unit_test_setup_teardown(test_denied, setup, teardown),
                cmocka_unit_test_setup_teardown(test_too_small, setup, teardown),
                cmocka_unit_test_setup_teardown(test_udmabuf, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_opened, setup, teardown),
                cmocka_unit_test_setup_teardown(test_worker_outcomes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_reserve_fails, setup, teardown),
                cmocka_unit_test_setup_teardown(test_over_a_limit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_memory_is_short, setup, teardown),
                cmocka_unit_test_setup_teardown(test_full_region, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cancelled, setup, teardown),
                cmocka_unit_test_setup_teardown(test_deadline, setup, teardown),
                cmocka_unit_test_setup_teardown(test_freed, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
