/* SPDX-License-Identifier: GPL-2.0-only */

#include "heap/heap-udmabuf.h"
#include "heap/heap.h"
#include "unit.h"

#define MIB (UINT64_C(1024) * 1024)

static const char *const contiguous_heaps[] = { "default_cma_region", "linux,cma", "reserved", "default-pool", NULL };
static const char *const protected_heaps[] = { "protected*", "restricted*", NULL };
static Role protected = { .name = (char *) "protected", .heaps = (char **) protected_heaps };
static Role contiguous = {
        .next = &protected,
        .name = (char *) "contiguous",
        .heaps = (char **) contiguous_heaps,
        .other_regions = true,
};

static unsigned n_changes;

static void on_changed(void *userdata) {
        (void) userdata;
        n_changes++;
}

static int setup(void **state) {
        HeapRegistry *registry = malloc(sizeof(HeapRegistry));

        assert_non_null(registry);
        heap_registry_init(registry, on_changed, NULL);
        heap_registry_set_roles(registry, &contiguous);
        n_changes = 0;
        *state = registry;
        return 0;
}

static int teardown(void **state) {
        heap_registry_done(*state);
        free(*state);
        return 0;
}

/* One enumeration that finds these regions; the default one, if it is known, begins with a star. */
static void regions_are(HeapRegistry *registry, const char *const *names) {
        heap_registry_regions_begin(registry);
        for (; *names; names++) {
                bool is_default = **names == '*';

                assert_int_equal(heap_registry_add_region(registry, *names + is_default, 64 * MIB, is_default), 0);
        }
        heap_registry_regions_end(registry);
}
#define REGIONS(...) ((const char *const[]) { __VA_ARGS__, NULL })

/* The region of a heap, whether or not the registry knows the heap. */
static const Region *find_region(const HeapRegistry *registry, const char *heap) {
        return heap_registry_stranger(registry, heap).region;
}

static const char *region_of(const HeapRegistry *registry, const char *heap) {
        const Region *region = find_region(registry, heap);

        return region ? region->name : "none";
}

static void declare(HeapRegistry *registry, const char *heap, const char *module, bool installed) {
        heap_registry_scan_begin(registry);
        assert_int_equal(heap_registry_declare(registry, heap, module, installed), 0);
        heap_registry_scan_end(registry);
}

/* Which region is behind default_cma_region, when somebody says so and when nobody does. */
static void test_default_region(void **state) {
        HeapRegistry *registry = *state;

        assert_string_equal(region_of(registry, HEAP_DEFAULT_CMA_REGION), "none");

        regions_are(registry, REGIONS("whatever"));
        assert_string_equal(region_of(registry, HEAP_DEFAULT_CMA_REGION), "whatever");

        regions_are(registry, REGIONS("camera", "linux,cma", "npu"));
        assert_string_equal(region_of(registry, HEAP_DEFAULT_CMA_REGION), "linux,cma");

        regions_are(registry, REGIONS("camera", "linux,cma", "reserved"));
        assert_string_equal(region_of(registry, HEAP_DEFAULT_CMA_REGION), "none");

        regions_are(registry, REGIONS("camera", "npu"));
        assert_string_equal(region_of(registry, HEAP_DEFAULT_CMA_REGION), "none");

        regions_are(registry, REGIONS("*camera", "reserved"));
        assert_string_equal(region_of(registry, HEAP_DEFAULT_CMA_REGION), "camera");

        /* An area may have that very name. */
        regions_are(registry, REGIONS("default_cma_region", "reserved"));
        assert_string_equal(region_of(registry, HEAP_DEFAULT_CMA_REGION), "default_cma_region");
}

static void test_two_names_of_one_region(void **state) {
        HeapRegistry *registry = *state;

        regions_are(registry, REGIONS("*reserved", "camera"));
        assert_ptr_equal(find_region(registry, HEAP_DEFAULT_CMA_REGION), find_region(registry, "reserved"));
        assert_ptr_not_equal(find_region(registry, "camera"), find_region(registry, "reserved"));
        assert_null(find_region(registry, "system"));

        const Region *reserved = find_region(registry, "reserved"), *camera = find_region(registry, "camera");
        assert_string_equal(heap_registry_heap_of(registry, reserved), HEAP_DEFAULT_CMA_REGION);
        assert_string_equal(heap_registry_heap_of(registry, camera), "camera");

        /* Either name serves it. */
        assert_int_equal(heap_registry_appeared(registry, "reserved"), 0);
        assert_true(heap_registry_is_served(registry, reserved));
        assert_false(heap_registry_is_served(registry, camera));
}

static void test_regions_change(void **state) {
        HeapRegistry *registry = *state;

        regions_are(registry, REGIONS("reserved", "camera"));
        assert_int_equal(n_changes, 2);

        regions_are(registry, REGIONS("reserved", "camera"));
        assert_int_equal(n_changes, 2);

        regions_are(registry, REGIONS("reserved", "*camera"));
        assert_int_equal(n_changes, 3);

        /* A default that is not told again stays the default. */
        regions_are(registry, REGIONS("reserved", "camera"));
        assert_int_equal(n_changes, 3);
        assert_string_equal(region_of(registry, HEAP_DEFAULT_CMA_REGION), "camera");

        heap_registry_regions_begin(registry);
        assert_int_equal(heap_registry_add_region(registry, "reserved", 32 * MIB, false), 0);
        assert_int_equal(heap_registry_add_region(registry, "camera", 0, false), 0);
        heap_registry_regions_end(registry);
        assert_int_equal(n_changes, 4);
        assert_int_equal(find_region(registry, "reserved")->size, 32 * MIB);
        assert_int_equal(find_region(registry, "camera")->size, 64 * MIB);

        regions_are(registry, REGIONS("camera"));
        assert_int_equal(n_changes, 5);
        assert_string_equal(region_of(registry, "reserved"), "none");
}

static void assert_region(const Heap *heap, const char *name) {
        assert_string_equal(heap->region ? heap->region->name : "none", name);
}

/* A heap's region is right after every change that it may depend on. */
static void test_regions_of_heaps(void **state) {
        HeapRegistry *registry = *state;
        Heap *camera, *standard, *npu;

        assert_int_equal(heap_registry_get(registry, "camera", &camera), 0);
        assert_int_equal(heap_registry_get(registry, HEAP_DEFAULT_CMA_REGION, &standard), 0);
        assert_region(camera, "none");
        assert_int_equal(heap_size_max(camera), 0);

        /* A region comes: the only one is the default one. */
        heap_registry_regions_begin(registry);
        assert_int_equal(heap_registry_add_region(registry, "camera", 64 * MIB, false), 0);
        assert_region(camera, "camera");
        assert_region(standard, "camera");
        assert_int_equal(heap_size_max(camera), 64 * MIB);

        assert_int_equal(heap_registry_add_region(registry, "npu", 0, false), 0);
        heap_registry_regions_end(registry);
        assert_region(standard, "none");
        assert_int_equal(heap_registry_get(registry, "npu", &npu), 0);
        assert_region(npu, "npu");
        assert_int_equal(heap_size_max(npu), 0);

        /* The roles name the regions that may be the default one. */
        static const char *const heaps[] = { "npu", NULL };
        const Role role = { .name = (char *) "contiguous", .heaps = (char **) heaps, .other_regions = true };
        heap_registry_set_roles(registry, &role);
        assert_region(standard, "npu");
        heap_registry_set_roles(registry, NULL);
        assert_region(standard, "none");

        /* The default one becomes known. */
        assert_int_equal(heap_registry_add_region(registry, "camera", 0, true), 0);
        assert_region(standard, "camera");

        /* One that is asked about without being known. */
        assert_region(&(Heap[]) { heap_registry_stranger(registry, "npu") }[0], "npu");
        assert_region(&(Heap[]) { heap_registry_stranger(registry, "invented") }[0], "none");
        assert_null(heap_registry_find(registry, "invented"));

        /* A region goes: nothing points to it any more. */
        regions_are(registry, REGIONS("npu"));
        assert_region(camera, "none");
        assert_region(standard, "npu");
        regions_are(registry, (const char *const[]) { NULL });
        assert_region(npu, "none");
        assert_region(standard, "none");
}

static void test_kinds(void **state) {
        HeapRegistry *registry = *state;
        char path[128], name[65];
        Heap *system, *udmabuf, *camera;

        assert_int_equal(heap_registry_get(registry, "system", &system), 0);
        assert_int_equal(heap_registry_get(registry, HEAP_UDMABUF, &udmabuf), 0);
        assert_int_equal(heap_registry_get(registry, "camera", &camera), 0);

        /* The kernel always charges a memfd's pages, and those of the system heap if it is told to. */
        assert_false(heap_registry_kernel_charges(registry, system));
        assert_true(heap_registry_kernel_charges(registry, udmabuf));
        assert_false(heap_registry_kernel_charges(registry, camera));
        registry->mem_accounting = true;
        assert_true(heap_registry_kernel_charges(registry, system));
        assert_true(heap_registry_kernel_charges(registry, udmabuf));
        assert_false(heap_registry_kernel_charges(registry, camera));

        assert_int_equal(heap_device_path(udmabuf, path, sizeof(path)), 0);
        assert_string_equal(path, "/dev/udmabuf");
        assert_int_equal(heap_device_path(camera, path, sizeof(path)), 0);
        assert_string_equal(path, "/dev/dma_heap/camera");
        assert_int_equal(heap_device_path(camera, name, strlen("/dev/dma_heap/camera")), -ENAMETOOLONG);
        assert_int_equal(heap_device_path(camera, name, strlen("/dev/dma_heap/camera") + 1), 0);
}

static void test_states(void **state) {
        HeapRegistry *registry = *state;

        declare(registry, "protected,a", "a_heap", false);
        Heap *heap = heap_registry_find(registry, "protected,a");
        assert_non_null(heap);
        assert_false(heap_registry_shows(registry, heap));

        declare(registry, "protected,a", "a_heap", true);
        assert_int_equal(heap->state, HEAP_LOADABLE);
        assert_true(heap_registry_shows(registry, heap));
        assert_string_equal(heap->module, "a_heap");

        assert_int_equal(heap_registry_failed(registry, "protected,a", "a_heap", "because", 7), 0);
        unsigned before = n_changes;
        assert_int_equal(heap_registry_failed(registry, "protected,a", "a_heap", "because", 8), 0);
        assert_int_equal(n_changes, before);
        assert_int_equal(heap->failed_at, 8);

        /* A scan that sees the module again does not know whether the cause has gone. */
        declare(registry, "protected,a", "a_heap", true);
        assert_int_equal(heap->state, HEAP_FAILED);
        assert_string_equal(heap->reason, "because");

        assert_int_equal(heap_registry_appeared(registry, "protected,a"), 0);
        assert_int_equal(heap->state, HEAP_READY);
        assert_null(heap->reason);

        heap_registry_vanished(registry, "protected,a");
        assert_int_equal(heap->state, HEAP_LOADABLE);
}

/* modprobe.d declares cma_heap under every name that a board may give the default region. */
static void test_names_of_other_boards(void **state) {
        HeapRegistry *registry = *state;

        registry->regions_known = true;
        regions_are(registry, REGIONS("reserved"));
        heap_registry_scan_begin(registry);
        for (size_t i = 0; contiguous_heaps[i]; i++)
                assert_int_equal(heap_registry_declare(registry, contiguous_heaps[i], "cma_heap", true), 0);
        heap_registry_scan_end(registry);

        assert_true(heap_registry_shows(registry, heap_registry_find(registry, "reserved")));
        assert_true(heap_registry_shows(registry, heap_registry_find(registry, "default_cma_region")));
        assert_false(heap_registry_shows(registry, heap_registry_find(registry, "linux,cma")));

        /* Where the kernel does not tell of regions, any may be the right one. */
        registry->regions_known = false;
        assert_true(heap_registry_shows(registry, heap_registry_find(registry, "linux,cma")));
}

static void assert_candidates(HeapRegistry *registry, const char *role, const char *const *expected) {
        _cleanup_free_ Heap **heaps = NULL;
        size_t n = 0;

        assert_int_equal(heap_registry_candidates(registry, role, &heaps), 0);
        for (; expected[n]; n++)
                assert_string_equal(heaps[n] ? heaps[n]->name : "end", expected[n]);
        assert_null(heaps[n]);
}

static void test_candidates(void **state) {
        HeapRegistry *registry = *state;
        Heap **heaps = NULL;

        assert_int_equal(heap_registry_candidates(registry, "contiguous", &heaps), -ENOENT);
        assert_int_equal(heap_registry_candidates(registry, "nonsense", &heaps), -ENOENT);

        regions_are(registry, REGIONS("*reserved", "camera", "npu"));
        declare(registry, "reserved", "cma_heap", true);
        declare(registry, "camera", "camera_heap", true);
        assert_int_equal(heap_registry_appeared(registry, "npu"), 0);
        assert_int_equal(heap_registry_appeared(registry, "system"), 0);
        assert_int_equal(heap_registry_appeared(registry, "restricted-b"), 0);
        assert_int_equal(heap_registry_appeared(registry, "protected-c"), 0);
        assert_int_equal(heap_registry_appeared(registry, "unprotected"), 0);

        /* Ready heaps come first, then the role's order, then every other region's heap. */
        assert_candidates(registry, "contiguous", REGIONS("npu", "reserved", "camera"));
        assert_candidates(registry, "protected", REGIONS("protected-c", "restricted-b"));
}

static bool serves(const HeapRegistry *registry, const Role *role, const char *name) {
        Heap heap = heap_registry_stranger(registry, name);

        return role_serves(role, &heap);
}

/* An entry of a role stands for the heap of its name; one that ends in '*' for every name that begins so. */
static void test_role_entries(void **state) {
        HeapRegistry *registry = *state;

        assert_true(serves(registry, &protected, "protected"));
        assert_true(serves(registry, &protected, "protected_video"));
        assert_false(serves(registry, &protected, "protecte"));
        assert_true(serves(registry, &contiguous, "reserved"));
        assert_false(serves(registry, &contiguous, "reserved2"));
}

/* It stands in for a heap that nobody has, and for one that could not be had. */
static void test_udmabuf_comes_last(void **state) {
        HeapRegistry *registry = *state;
        static const char *const heaps[] = { "udmabuf", "system", NULL };
        const Role role = { .name = (char *) "system", .heaps = (char **) heaps };

        heap_registry_set_roles(registry, &role);
        assert_int_equal(heap_registry_appeared(registry, "udmabuf"), 0);
        assert_candidates(registry, "system", REGIONS("udmabuf"));
        declare(registry, "system", "system_heap", true);
        assert_candidates(registry, "system", REGIONS("system", "udmabuf"));
        assert_int_equal(heap_registry_failed(registry, "system", "system_heap", "no", 1), 0);
        assert_candidates(registry, "system", REGIONS("udmabuf", "system"));
        assert_int_equal(heap_registry_appeared(registry, "system"), 0);
        assert_candidates(registry, "system", REGIONS("system", "udmabuf"));
}

static void test_udmabuf_limit(void **state) {
        _cleanup_(directory_removep) char *sysfs = directory_new();
        char reason[UDMABUF_REASON_LENGTH] = "untouched";
        (void) state;

        assert_false(heap_udmabuf_refuses(sysfs, UINT64_MAX, reason));

        file_print(sysfs, "module/udmabuf/parameters/size_limit_mb", "64\n");
        assert_false(heap_udmabuf_refuses(sysfs, 64 * MIB, reason));
        assert_string_equal(reason, "untouched");
        assert_true(heap_udmabuf_refuses(sysfs, 64 * MIB + 1, reason));
        assert_non_null(strstr(reason, "at most 64 MiB"));
        assert_non_null(strstr(reason, "udmabuf.size_limit_mb"));

        file_print(sysfs, "module/udmabuf/parameters/size_limit_mb", "0\n");
        assert_true(heap_udmabuf_refuses(sysfs, 4096, reason));

        file_print(sysfs, "module/udmabuf/parameters/size_limit_mb", "2147483647\n");
        assert_false(heap_udmabuf_refuses(sysfs, UINT64_C(1) << 47, reason));

        /* The kernel takes a negative limit for none; a limit that cannot be right is taken for none too. */
        file_print(sysfs, "module/udmabuf/parameters/size_limit_mb", "-1\n");
        assert_false(heap_udmabuf_refuses(sysfs, UINT64_C(1) << 47, reason));
        file_print(sysfs, "module/udmabuf/parameters/size_limit_mb", "17592186044416\n");
        assert_false(heap_udmabuf_refuses(sysfs, UINT64_C(1) << 47, reason));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_default_region, setup, teardown),
                cmocka_unit_test_setup_teardown(test_two_names_of_one_region, setup, teardown),
                cmocka_unit_test_setup_teardown(test_regions_change, setup, teardown),
                cmocka_unit_test_setup_teardown(test_regions_of_heaps, setup, teardown),
                cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
                cmocka_unit_test_setup_teardown(test_states, setup, teardown),
                cmocka_unit_test_setup_teardown(test_names_of_other_boards, setup, teardown),
                cmocka_unit_test_setup_teardown(test_candidates, setup, teardown),
                cmocka_unit_test_setup_teardown(test_role_entries, setup, teardown),
                cmocka_unit_test_setup_teardown(test_udmabuf_comes_last, setup, teardown),
                cmocka_unit_test(test_udmabuf_limit),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
