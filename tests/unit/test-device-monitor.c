/* SPDX-License-Identifier: GPL-2.0-only */

/* Tests what the device monitor makes of a sysfs with several CMA areas, which are directories of the test's. Devices
 * are those of the machine that runs the test, so nothing is checked of them. */

#include <stdio.h>

#include "heap/device-monitor.h"
#include "unit.h"

#define PAGES_PER_MIB (1024U * 1024 / (unsigned) sysconf(_SC_PAGESIZE))

typedef struct Machine {
        char *sysfs;
        sd_event *event;
        HeapRegistry registry;
        DeviceMonitor *monitor;
} Machine;

static void area_add(const Machine *machine, const char *name, unsigned size_mb) {
        char file[256];

        assert_true(snprintf(file, sizeof(file), "kernel/mm/cma/%s/total_pages", name) < (int) sizeof(file));
        file_print(machine->sysfs, file, "%u\n", size_mb * PAGES_PER_MIB);
}

static void area_remove(const Machine *machine, const char *name) {
        char *path;

        assert_true(asprintf(&path, "%s/kernel/mm/cma/%s", machine->sysfs, name) >= 0);
        directory_remove(path);
}

static int setup(void **state) {
        Machine *machine = calloc(1, sizeof(Machine));

        assert_non_null(machine);
        machine->sysfs = directory_new();
        assert_int_equal(sd_event_new(&machine->event), 0);
        heap_registry_init(&machine->registry, NULL, NULL);
        *state = machine;
        return 0;
}

static int teardown(void **state) {
        Machine *machine = *state;

        device_monitor_free(machine->monitor);
        heap_registry_done(&machine->registry);
        sd_event_unref(machine->event);
        directory_remove(machine->sysfs);
        free(machine);
        return 0;
}

static void monitor_start(Machine *machine) {
        assert_int_equal(device_monitor_new(machine->event, &machine->registry, machine->sysfs, &machine->monitor), 0);
}

static unsigned n_regions(const Machine *machine) {
        unsigned n = 0;

        for (const Region *region = machine->registry.regions; region; region = region->next)
                n++;
        return n;
}

/* The region of a heap, whether or not the registry knows the heap. */
static const Region *find_region(const HeapRegistry *registry, const char *heap) {
        return heap_registry_stranger(registry, heap).region;
}

static void assert_region(const Machine *machine, const char *heap, const char *name, unsigned size_mb) {
        const Region *region = find_region(&machine->registry, heap);

        assert_non_null(region);
        assert_string_equal(region->name, name);
        assert_int_equal(region->size, (uint64_t) size_mb << 20);
}

static void test_several_areas(void **state) {
        Machine *machine = *state;
        char *names[] = { (char *) "default_cma_region", (char *) "linux,cma", (char *) "reserved", NULL };
        const Role role = { .name = (char *) "contiguous", .heaps = names, .other_regions = true };

        heap_registry_set_roles(&machine->registry, &role);
        area_add(machine, "linux,cma", 64);
        area_add(machine, "camera", 32);
        area_add(machine, "npu 1", 8);       /* no client could ask for it */
        area_add(machine, "hugetlb0", 1024); /* the kernel's own */
        area_add(machine, "crashkernel", 256);
        monitor_start(machine);

        assert_true(machine->registry.regions_known);
        assert_int_equal(n_regions(machine), 2);
        assert_region(machine, "linux,cma", "linux,cma", 64);
        assert_region(machine, "camera", "camera", 32);
        assert_region(machine, HEAP_DEFAULT_CMA_REGION, "linux,cma", 64);
        assert_null(find_region(&machine->registry, "hugetlb0"));
        assert_null(find_region(&machine->registry, "crashkernel"));
}

static void test_areas_come_and_go(void **state) {
        Machine *machine = *state;

        area_add(machine, "reserved", 64);
        monitor_start(machine);
        assert_int_equal(n_regions(machine), 1);

        area_add(machine, "camera", 32);
        area_add(machine, "reserved", 16);
        assert_int_equal(device_monitor_enumerate(machine->monitor), 0);
        assert_int_equal(n_regions(machine), 2);
        assert_region(machine, "camera", "camera", 32);
        assert_region(machine, "reserved", "reserved", 16);

        area_remove(machine, "reserved");
        assert_int_equal(device_monitor_enumerate(machine->monitor), 0);
        assert_int_equal(n_regions(machine), 1);
        assert_region(machine, HEAP_DEFAULT_CMA_REGION, "camera", 32);
}

static void test_no_areas(void **state) {
        Machine *machine = *state;

        monitor_start(machine);
        assert_false(machine->registry.regions_known);
        assert_int_equal(n_regions(machine), 0);

        area_add(machine, "hugetlb0", 1024);
        assert_int_equal(device_monitor_enumerate(machine->monitor), 0);
        assert_true(machine->registry.regions_known);
        assert_int_equal(n_regions(machine), 0);
}

/* An area whose size cannot be read, or makes no sense, is there without one. */
static void test_size_unknown(void **state) {
        Machine *machine = *state;

        file_print(machine->sysfs, "kernel/mm/cma/reserved/used", "0\n");
        file_print(machine->sysfs, "kernel/mm/cma/camera/total_pages", "18446744073709551615\n");
        file_print(machine->sysfs, "kernel/mm/cma/npu/total_pages", "many\n");
        monitor_start(machine);

        assert_region(machine, "reserved", "reserved", 0);
        assert_region(machine, "camera", "camera", 0);
        assert_region(machine, "npu", "npu", 0);
}

static void test_mem_accounting(void **state) {
        Machine *machine = *state;

        monitor_start(machine);
        assert_false(machine->registry.mem_accounting);

        file_print(machine->sysfs, "module/dma_heap/parameters/mem_accounting", "Y\n");
        assert_int_equal(device_monitor_enumerate(machine->monitor), 0);
        assert_true(machine->registry.mem_accounting);

        file_print(machine->sysfs, "module/dma_heap/parameters/mem_accounting", "N\n");
        assert_int_equal(device_monitor_enumerate(machine->monitor), 0);
        assert_false(machine->registry.mem_accounting);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_several_areas, setup, teardown),
                cmocka_unit_test_setup_teardown(test_areas_come_and_go, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_areas, setup, teardown),
                cmocka_unit_test_setup_teardown(test_size_unknown, setup, teardown),
                cmocka_unit_test_setup_teardown(test_mem_accounting, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
