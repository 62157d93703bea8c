/* SPDX-License-Identifier: GPL-2.0-only */

/* Every reply and every error, to the byte, as a client reads it. The ledger is a real one; limits and headroom are the
 * functions below, which the linker takes in place of the accounting. */

#include "ledger/ledger.h"
#include "unit.h"
#include "varlink/reply-json.h"

static struct {
        PolicyLimits limits;
        uint64_t headroom;
        int headroom_result;
        Ledger *ledger;
        const HeapUsage *usages; /* the last one has no heap */
} t;

void accounting_limits(const Accounting *accounting, const Client *client, PolicyLimits *ret) {
        (void) accounting;
        (void) client;
        *ret = t.limits;
}

bool accounting_next_usage(const Accounting *accounting, const Client *client, HeapUsage *usage) {
        const HeapUsage *next = t.usages;
        (void) accounting;
        (void) client;

        while (usage->heap && next++->heap != usage->heap)
                ;
        if (!next->heap)
                return false;

        *usage = *next;
        return true;
}

int accounting_headroom(const Accounting *accounting, const Peer *peer, uint64_t *ret) {
        (void) accounting;
        (void) peer;
        if (t.headroom_result >= 0)
                *ret = t.headroom;
        return t.headroom_result;
}

Ledger *accounting_ledger(Accounting *accounting) {
        (void) accounting;
        return t.ledger;
}

static void assert_text(sd_json_variant *variant, const char *expected) {
        _cleanup_(sd_json_variant_unrefp) sd_json_variant *owned = variant;
        _cleanup_free_ char *text = NULL;

        assert_true(sd_json_variant_format(owned, 0, &text) >= 0);
        assert_string_equal(text, expected);
}

static void assert_error(const AllocateReply *reply, const char *expected_error, const char *expected) {
        sd_json_variant *parameters = NULL;
        const char *error = NULL;

        assert_int_equal(reply_json_error(reply, &error, &parameters), 0);
        assert_string_equal(error, expected_error);
        assert_text(parameters, expected);
}
#define ASSERT_ERROR(name, text, ...) \
        assert_error(&(AllocateReply) { __VA_ARGS__ }, "io.dmaheapd.Allocator." name, text)

static void test_errors(void **state) {
        sd_json_variant *parameters = NULL;
        const char *error = NULL;
        (void) state;

        ASSERT_ERROR("NoSuchHeap", "{\"heap\":\"camera\"}", .error = ALLOCATE_NO_SUCH_HEAP, .heap = "camera");
        ASSERT_ERROR("NoSuchHeap", "{\"role\":\"npu\"}", .error = ALLOCATE_NO_SUCH_HEAP, .role = "npu");
        ASSERT_ERROR("HeapUnavailable",
                        "{\"heap\":\"camera\",\"reason\":\"a \\\"reason\\\"\"}",
                        .error = ALLOCATE_HEAP_UNAVAILABLE,
                        .heap = "camera",
                        .reason = "a \"reason\"");
        ASSERT_ERROR("OutOfMemory", "{\"heap\":\"system\"}", .error = ALLOCATE_OUT_OF_MEMORY, .heap = "system");
        ASSERT_ERROR("OutOfResources",
                        "{\"resource\":\"processes\"}",
                        .error = ALLOCATE_OUT_OF_RESOURCES,
                        .resource = "processes");
        ASSERT_ERROR("TimedOut", "{\"heap\":\"contiguous\"}", .error = ALLOCATE_TIMED_OUT, .heap = "contiguous");

        /* Those that are varlink's own, and none. */
        assert_int_equal(
                        reply_json_error(&(AllocateReply) { .error = ALLOCATE_SUCCESS }, &error, &parameters), -EINVAL);
        assert_int_equal(
                        reply_json_error(&(AllocateReply) { .error = ALLOCATE_PERMISSION_DENIED }, &error, &parameters),
                        -EINVAL);
        assert_int_equal(
                        reply_json_error(&(AllocateReply) { .error = ALLOCATE_INVALID_PARAMETER }, &error, &parameters),
                        -EINVAL);
        assert_null(error);
        assert_null(parameters);
}

static void test_quota_exceeded(void **state) {
        static const struct {
                AccountingRefusal refusal;
                const char *text;
        } rows[] = {
                { { .scope = QUOTA_SCOPE_CLIENT,
                          .resource = QUOTA_RESOURCE_BYTES,
                          .name = "camera.service",
                          .limit = 1,
                          .used = 2,
                          .requested = 3 },
                        "{\"scope\":\"client\",\"name\":\"camera.service\",\"resource\":\"bytes\",\"limit\":1,\"used\":"
                        "2,\"requested\":3}" },
                { { .scope = QUOTA_SCOPE_USER, .resource = QUOTA_RESOURCE_BUFFERS, .name = "1000" },
                        "{\"scope\":\"user\",\"name\":\"1000\",\"resource\":\"buffers\",\"limit\":0,\"used\":0,"
                        "\"requested\":0}" },
                { { .scope = QUOTA_SCOPE_HEAP, .name = "system" },
                        "{\"scope\":\"heap\",\"name\":\"system\",\"resource\":\"bytes\",\"limit\":0,\"used\":0,"
                        "\"requested\":0}" },
                { { .scope = QUOTA_SCOPE_CGROUP, .name = "/" },
                        "{\"scope\":\"cgroup\",\"name\":\"/"
                        "\",\"resource\":\"bytes\",\"limit\":0,\"used\":0,\"requested\":0}" },
                { { .scope = QUOTA_SCOPE_SYSTEM, .limit = UINT64_MAX - 1 },
                        "{\"scope\":\"system\",\"resource\":\"bytes\",\"limit\":18446744073709551614,\"used\":0,"
                        "\"requested\":0}" },
        };
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++)
                ASSERT_ERROR("QuotaExceeded",
                                rows[i].text,
                                .error = ALLOCATE_QUOTA_EXCEEDED,
                                .refusal = &rows[i].refusal);
}

static void test_buffers(void **state) {
        WorkerBuffer buffers[] = { { .fd = 7, .inode = 70 }, { .fd = 3, .inode = 30 } };
        sd_json_variant *parameters = NULL;
        (void) state;

        assert_int_equal(reply_json_buffers(
                                         &(AllocateReply) {
                                                 .heap = "system", .buffers = buffers, .n_buffers = 2, .size = 8192 },
                                         &parameters),
                        0);
        assert_text(parameters,
                        "{\"heap\":\"system\",\"buffers\":[{\"fileDescriptor\":0,\"id\":70,\"size\":8192},"
                        "{\"fileDescriptor\":1,\"id\":30,\"size\":8192}]}");
}

static void test_heaps(void **state) {
        static const char *const system_heaps[] = { "system", "udmabuf", NULL },
                                 *const contiguous_heaps[] = { "default_cma_region", NULL };
        const Role contiguous = {
                .name = (char *) "contiguous", .heaps = (char **) contiguous_heaps, .other_regions = true
        };
        const Role system = {
                .next = (Role *) &contiguous, .name = (char *) "system", .heaps = (char **) system_heaps
        };
        HeapRegistry registry;
        sd_json_variant *parameters = NULL;
        (void) state;

        heap_registry_init(&registry, NULL, NULL);
        assert_int_equal(reply_json_heaps(&registry, &parameters), 0);
        assert_text(parameters, "{\"heaps\":[]}");

        heap_registry_set_roles(&registry, &system);
        assert_int_equal(heap_registry_add_region(&registry, "reserved", 64 << 20, true), 0);
        assert_int_equal(heap_registry_add_region(&registry, "npu", 0, false), 0);
        assert_int_equal(heap_registry_appeared(&registry, "system"), 0);
        assert_int_equal(heap_registry_appeared(&registry, "udmabuf"), 0);
        assert_int_equal(heap_registry_appeared(&registry, "npu"), 0);
        heap_registry_scan_begin(&registry);
        assert_int_equal(heap_registry_declare(&registry, "default_cma_region", "cma_heap", true), 0);
        assert_int_equal(heap_registry_declare(&registry, "system", "system_heap", false), 0);
        heap_registry_scan_end(&registry);
        assert_int_equal(heap_registry_failed(&registry, "camera", "camera_heap", "no such device", 1), 0);
        heap_registry_find(&registry, "npu")->bytes_used = 4096;

        parameters = NULL;
        assert_int_equal(reply_json_heaps(&registry, &parameters), 0);
        assert_text(parameters,
                        "{\"heaps\":["
                        "{\"name\":\"camera\",\"state\":\"failed\",\"reason\":\"no such "
                        "device\",\"roles\":[],\"module\":\"camera_heap\","
                        "\"accounting\":\"daemon\",\"used\":0},"
                        "{\"name\":\"default_cma_region\",\"state\":\"loadable\",\"roles\":[\"contiguous\"],\"module\":"
                        "\"cma_heap\","
                        "\"accounting\":\"daemon\",\"region\":\"reserved\",\"size\":67108864,\"used\":0},"
                        "{\"name\":\"npu\",\"state\":\"ready\",\"roles\":[\"contiguous\"],\"accounting\":\"daemon\","
                        "\"region\":\"npu\",\"used\":4096},"
                        "{\"name\":\"system\",\"state\":\"ready\",\"roles\":[\"system\"],\"accounting\":\"daemon\","
                        "\"used\":0},"
                        "{\"name\":\"udmabuf\",\"state\":\"ready\",\"roles\":[\"system\"],\"accounting\":\"kernel\","
                        "\"used\":0}]}");
        heap_registry_done(&registry);
}

static void test_usage(void **state) {
        User user = { .uid = 1000, .account = { .bytes = 12288, .buffers = 3 } };
        const Heap system = { .name = (char *) "system" };
        HeapUsage usages[] = { { .heap = &system, .bytes_used = 8192, .bytes_max = 3 << 20 }, {} };
        Client client = {
                .identity = {
                        .unit = (char *) "camera.service",
                        .cgroup = (char *) "/system.slice/camera.service",
                        .uid = 1001,
                        .user = 1000,
                },
                .user = &user,
                .account = { .bytes = 8192, .buffers = 2 },
                .n_connections = 5,
        };
        ClientRegistry clients = { .clients = &client };
        sd_json_variant *parameters = NULL;
        (void) state;

        t.limits = (PolicyLimits) { .client_bytes = 1 << 20, .client_buffers = 1024, .user_bytes = 2 << 20 };
        t.usages = usages;
        t.headroom = 4 << 20;
        assert_int_equal(reply_json_usage(NULL, &client, NULL, &parameters), 0);
        assert_text(parameters,
                        "{\"client\":{\"bytesUsed\":8192,\"bytesMax\":1048576,\"buffersUsed\":2,\"buffersMax\":1024},"
                        "\"user\":{\"bytesUsed\":12288,\"bytesMax\":2097152,\"buffersUsed\":3},"
                        "\"heaps\":[{\"heap\":\"system\",\"bytesUsed\":8192,\"bytesMax\":3145728}],"
                        "\"cgroupHeadroom\":4194304}");

        parameters = NULL;
        assert_int_equal(reply_json_clients(NULL, &clients, &parameters), 0);
        assert_text(parameters,
                        "{\"clients\":[{\"unit\":\"camera.service\",\"cgroup\":\"/system.slice/"
                        "camera.service\",\"uid\":1001,\"user\":1000,"
                        "\"connections\":5,\"usage\":{\"bytesUsed\":8192,\"bytesMax\":1048576,\"buffersUsed\":2,"
                        "\"buffersMax\":1024},"
                        "\"heaps\":[{\"heap\":\"system\",\"bytesUsed\":8192,\"bytesMax\":3145728}]}]}");

        /* A limit of none is null, and so is the unit of a client without one. */
        t.limits = (PolicyLimits) {
                .client_bytes = LIMIT_INFINITY,
                .client_buffers = LIMIT_INFINITY,
                .user_bytes = LIMIT_INFINITY,
        };
        usages[0].bytes_max = LIMIT_INFINITY;
        t.headroom = MEMORY_INFINITY;
        client.identity.unit = NULL;
        parameters = NULL;
        assert_int_equal(reply_json_usage(NULL, &client, NULL, &parameters), 0);
        assert_text(parameters,
                        "{\"client\":{\"bytesUsed\":8192,\"buffersUsed\":2},\"user\":{\"bytesUsed\":12288,"
                        "\"buffersUsed\":3},"
                        "\"heaps\":[{\"heap\":\"system\",\"bytesUsed\":8192}]}");
        parameters = NULL;
        assert_int_equal(reply_json_clients(NULL, &clients, &parameters), 0);
        assert_text(parameters,
                        "{\"clients\":[{\"cgroup\":\"/system.slice/"
                        "camera.service\",\"uid\":1001,\"user\":1000,\"connections\":5,"
                        "\"usage\":{\"bytesUsed\":8192,\"buffersUsed\":2},\"heaps\":[{\"heap\":\"system\","
                        "\"bytesUsed\":8192}]}]}");

        /* A control group that is gone takes nothing any more. */
        t.headroom_result = -ENOENT;
        t.usages++; /* and it holds nothing */
        parameters = NULL;
        assert_int_equal(reply_json_usage(NULL, &client, NULL, &parameters), 0);
        assert_text(parameters,
                        "{\"client\":{\"bytesUsed\":8192,\"buffersUsed\":2},\"user\":{\"bytesUsed\":12288,"
                        "\"buffersUsed\":3},"
                        "\"heaps\":[],\"cgroupHeadroom\":0}");
        t.headroom_result = -EIO;
        parameters = NULL;
        assert_int_equal(reply_json_usage(NULL, &client, NULL, &parameters), -EIO);
        assert_null(parameters);
}

#define CAMERA_20                                                                                       \
        "{\"id\":20,\"size\":4096,\"heap\":\"system\",\"label\":\"frame\",\"unit\":\"camera.service\"," \
        "\"cgroup\":\"/system.slice/camera.service\",\"uid\":1001,\"user\":1000,\"allocatedUSec\":77}"
#define NOBODY_10                                                                \
        "{\"id\":10,\"size\":8192,\"heap\":\"npu\",\"cgroup\":\"unattributed\"," \
        "\"uid\":4294967295,\"user\":4294967295,\"allocatedUSec\":5}"

static void assert_live_buffers(const char *unit, uint64_t uid, const char *expected) {
        sd_json_variant *parameters = NULL;

        assert_int_equal(reply_json_live_buffers(NULL, unit, uid, &parameters), 0);
        assert_text(parameters, expected);
}

static void test_live_buffers(void **state) {
        static const uint8_t boot[16] = "this boot";
        _cleanup_free_ char *set_aside = NULL;
        Identity camera = {
                .unit = (char *) "camera.service",
                .cgroup = (char *) "/system.slice/camera.service",
                .cgroup_ids = { { 4711 }, 1 },
                .uid = 1001,
                .user = 1000,
        };
        Identity nobody = { .cgroup = (char *) LEDGER_UNATTRIBUTED, .uid = (uid_t) -1, .user = (uid_t) -1 };
        LedgerEntry entry = { .owner = &camera, .heap = "system", .label = "frame", .allocated_usec = 77 };
        (void) state;

        assert_int_equal(ledger_open(-EBADF, boot, &t.ledger, &set_aside), 0);
        assert_live_buffers(NULL, UINT64_MAX, "{\"buffers\":[]}");

        assert_int_equal(ledger_add(t.ledger, &entry, &(LedgerBuffer) { .inode = 20, .size = 4096 }, 1, NULL), 0);
        entry = (LedgerEntry) { .owner = &nobody, .heap = "npu", .allocated_usec = 5 };
        assert_int_equal(ledger_add(t.ledger, &entry, &(LedgerBuffer) { .inode = 10, .size = 8192 }, 1, NULL), 0);

        assert_live_buffers(NULL, UINT64_MAX, "{\"buffers\":[" NOBODY_10 "," CAMERA_20 "]}");
        assert_live_buffers("camera.service", UINT64_MAX, "{\"buffers\":[" CAMERA_20 "]}");
        assert_live_buffers("camera.service", 1001, "{\"buffers\":[" CAMERA_20 "]}");
        assert_live_buffers("camera.service", 1000, "{\"buffers\":[]}");
        assert_live_buffers(NULL, 4294967295, "{\"buffers\":[" NOBODY_10 "]}");
        assert_live_buffers("other.service", UINT64_MAX, "{\"buffers\":[]}");
        t.ledger = ledger_free(t.ledger);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_errors),
                cmocka_unit_test(test_quota_exceeded),
                cmocka_unit_test(test_buffers),
                cmocka_unit_test(test_heaps),
                cmocka_unit_test(test_usage),
                cmocka_unit_test(test_live_buffers),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
