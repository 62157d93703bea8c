/* SPDX-License-Identifier: GPL-2.0-only */

/* Tells the registry which heaps and CMA regions the kernel has: udev's devices, and sysfs for what udev does not know.
 * The invariants: events are received before the first enumeration, so no change falls between the two; and after each
 * event, or the loss of some, the registry agrees with sysfs. */

#include <dirent.h>
#include <fcntl.h>
#include <libudev.h>
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "heap/device-monitor.h"
#include "util/fd-util.h"
#include "util/log.h"

#define SUBSYSTEM_HEAP "dma_heap"
#define SUBSYSTEM_REGION "cma_region"

struct DeviceMonitor {
        HeapRegistry *registry;
        char *sysfs;
        struct udev *udev;
        struct udev_monitor *monitor;
        sd_event_source *source;
};

static void udev_enumerate_unrefp(struct udev_enumerate **e) {
        udev_enumerate_unref(*e);
}
static void udev_device_unrefp(struct udev_device **d) {
        udev_device_unref(*d);
}
static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

/* True for a CMA area that the kernel keeps for itself. */
static bool region_is_private(const char *name) {
        return startswith(name, "hugetlb") || startswith(name, "crash");
}

/* The size of a region in bytes; 0 if unknown. */
static uint64_t region_size(DeviceMonitor *monitor, const char *name) {
        char path[PATH_MAX];
        uint64_t pages;

        if ((size_t) snprintf(path, sizeof(path), "%s/kernel/mm/cma/%s/total_pages", monitor->sysfs, name) >=
                                        sizeof(path) ||
                        read_u64_at(AT_FDCWD, path, &pages) < 0 ||
                        __builtin_mul_overflow(pages, (uint64_t) sysconf(_SC_PAGESIZE), &pages))
                return 0;

        return pages;
}

/* Calls `add` for each device of a subsystem. Returns how many, or -errno. */
static int for_each_device(DeviceMonitor *monitor, const char *subsystem,
                int (*add)(DeviceMonitor *monitor, struct udev_device *device)) {
        _cleanup_(udev_enumerate_unrefp) struct udev_enumerate *enumerate = udev_enumerate_new(monitor->udev);
        int r, n = 0;

        if (!enumerate)
                return -ENOMEM;

        r = udev_enumerate_add_match_subsystem(enumerate, subsystem);
        if (r < 0)
                return r;

        r = udev_enumerate_scan_devices(enumerate);
        if (r < 0)
                return r;

        struct udev_list_entry *entry;
        udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(enumerate)) {
                _cleanup_(udev_device_unrefp) struct udev_device *device =
                                udev_device_new_from_syspath(monitor->udev, udev_list_entry_get_name(entry));

                if (!device)
                        continue; /* gone again */

                r = add(monitor, device);
                if (r < 0)
                        return r;
                n++;
        }

        return n;
}

static int add_heap(DeviceMonitor *monitor, struct udev_device *device) {
        const char *name = udev_device_get_sysname(device);

        if (!heap_name_is_valid(name)) {
                log_debug("Ignoring a heap whose name is not valid: %s", name);
                return 0;
        }

        return heap_registry_appeared(monitor->registry, name);
}

static int enumerate_udmabuf(DeviceMonitor *monitor) {
        _cleanup_(udev_device_unrefp) struct udev_device *device =
                        udev_device_new_from_subsystem_sysname(monitor->udev, "misc", HEAP_UDMABUF);

        return device ? heap_registry_appeared(monitor->registry, HEAP_UDMABUF) : 0;
}

static int add_region_device(DeviceMonitor *monitor, struct udev_device *device) {
        const char *name = udev_device_get_property_value(device, "CMA_REGION_NAME");
        const char *is_default = udev_device_get_property_value(device, "CMA_REGION_DEFAULT");

        if (!name)
                return 0;

        return heap_registry_add_region(
                        monitor->registry, name, region_size(monitor, name), is_default && streq(is_default, "1"));
}

/* Where the bus "cma_region" is missing, sysfs still has a directory for each region. */
static int add_region_directories(DeviceMonitor *monitor) {
        char path[PATH_MAX];

        if ((size_t) snprintf(path, sizeof(path), "%s/kernel/mm/cma", monitor->sysfs) >= sizeof(path))
                return -ENAMETOOLONG;

        _cleanup_(closedirp) DIR *directory = opendir(path);
        if (!directory)
                return errno == ENOENT ? 0 : -errno;

        monitor->registry->regions_known = true;

        for (struct dirent *entry; (entry = readdir(directory));) {
                if (entry->d_name[0] == '.' || region_is_private(entry->d_name) || !heap_name_is_valid(entry->d_name))
                        continue;

                int r = heap_registry_add_region(
                                monitor->registry, entry->d_name, region_size(monitor, entry->d_name), false);
                if (r < 0)
                        return r;
        }

        return 0;
}

static void read_mem_accounting(DeviceMonitor *monitor) {
        _cleanup_free_ char *value = NULL;
        char path[PATH_MAX];

        (void) snprintf(path, sizeof(path), "%s/module/dma_heap/parameters/mem_accounting", monitor->sysfs);
        monitor->registry->mem_accounting = read_file_at(AT_FDCWD, path, 16, &value) > 0 && value[0] == 'Y';
}

static int enumerate_regions(DeviceMonitor *monitor) {
        int r;

        heap_registry_regions_begin(monitor->registry);
        r = for_each_device(monitor, SUBSYSTEM_REGION, add_region_device);
        if (r > 0)
                monitor->registry->regions_known = true;
        if (r == 0)
                r = add_region_directories(monitor);
        if (r >= 0)
                heap_registry_regions_end(monitor->registry);
        return r;
}

static int enumerate_heaps(DeviceMonitor *monitor) {
        int r;

        /* A heap that is ready but has no device any more has gone without an event. */
        for (Heap *heap = monitor->registry->heaps; heap; heap = heap->next) {
                char path[PATH_MAX];

                (void) snprintf(path,
                                sizeof(path),
                                "%s/class/%s/%s",
                                monitor->sysfs,
                                streq(heap->name, HEAP_UDMABUF) ? "misc" : SUBSYSTEM_HEAP,
                                heap->name);
                if (heap->state == HEAP_READY && access(path, F_OK) < 0)
                        heap_registry_vanished(monitor->registry, heap->name);
        }

        r = enumerate_udmabuf(monitor);
        if (r < 0)
                return r;

        return for_each_device(monitor, SUBSYSTEM_HEAP, add_heap);
}

int device_monitor_enumerate(DeviceMonitor *monitor) {
        read_mem_accounting(monitor);

        int r = enumerate_regions(monitor);
        if (r < 0)
                return r;

        r = enumerate_heaps(monitor);
        return r < 0 ? r : 0;
}

static void handle_device(DeviceMonitor *monitor, struct udev_device *device) {
        const char *subsystem = udev_device_get_subsystem(device), *action = udev_device_get_action(device);
        int r = 0;

        if (!subsystem || !action)
                return;

        if (streq(subsystem, SUBSYSTEM_REGION))
                r = enumerate_regions(monitor);
        else if (streq(action, "remove"))
                heap_registry_vanished(monitor->registry, udev_device_get_sysname(device));
        else {
                read_mem_accounting(monitor); /* the parameter appears with the heap core, where that is a module */
                r = add_heap(monitor, device);
        }

        if (r < 0)
                (void) log_warning_errno(
                                r, "Cannot take note of %s %s: %m", subsystem, udev_device_get_sysname(device));
}

static int on_udev(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        DeviceMonitor *monitor = userdata;

        errno = 0;
        _cleanup_(udev_device_unrefp) struct udev_device *device = udev_monitor_receive_device(monitor->monitor);
        if (device)
                handle_device(monitor, device);
        else if (errno == ENOBUFS) {
                int r = device_monitor_enumerate(monitor);
                if (r < 0)
                        (void) log_warning_errno(r, "Cannot enumerate the heaps after udev events were lost: %m");
        }

        return 0;
}

DeviceMonitor *device_monitor_free(DeviceMonitor *monitor) {
        if (!monitor)
                return NULL;

        sd_event_source_disable_unref(monitor->source);
        udev_monitor_unref(monitor->monitor);
        udev_unref(monitor->udev);
        free(monitor->sysfs);
        free(monitor);
        return NULL;
}

int device_monitor_new(sd_event *event, HeapRegistry *registry, const char *sysfs, DeviceMonitor **ret) {
        _cleanup_(device_monitor_freep) DeviceMonitor *monitor = calloc(1, sizeof(DeviceMonitor));
        int r;

        if (!monitor)
                return -ENOMEM;

        monitor->registry = registry;
        monitor->sysfs = strdup(sysfs);
        monitor->udev = udev_new();
        if (!monitor->sysfs || !monitor->udev)
                return -ENOMEM;

        /* Receive events first, and enumerate afterwards. */
        monitor->monitor = udev_monitor_new_from_netlink(monitor->udev, "udev");
        if (!monitor->monitor)
                return errno > 0 ? -errno : -EIO;

        r = udev_monitor_filter_add_match_subsystem_devtype(monitor->monitor, SUBSYSTEM_HEAP, NULL);
        if (r >= 0)
                r = udev_monitor_filter_add_match_subsystem_devtype(monitor->monitor, SUBSYSTEM_REGION, NULL);
        if (r < 0)
                return r;

        r = udev_monitor_enable_receiving(monitor->monitor);
        if (r < 0)
                return r;

        r = sd_event_add_io(event, &monitor->source, udev_monitor_get_fd(monitor->monitor), EPOLLIN, on_udev, monitor);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(monitor->source, "udev");

        r = device_monitor_enumerate(monitor);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(monitor);
        return 0;
}
