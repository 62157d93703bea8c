/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "heap/heap.h"

/* Tells the heap registry which heaps and CMA regions the kernel has, at the start and whenever udev(7) reports a
 * change. Heaps are devices of the subsystem "dma_heap". Regions are devices of "cma_region" where our module of that
 * name is loaded, else those of /sys/kernel/mm/cma that heaps can serve. Their sizes are from /sys/kernel/mm/cma in
 * both cases. */
typedef struct DeviceMonitor DeviceMonitor;

/* Enumerates everything, and follows the changes from then on. registry: borrowed, must outlive the monitor. sysfs:
 * where sysfs is mounted, "/sys" but for tests. Returns 0, or -errno. */
int device_monitor_new(sd_event *event, HeapRegistry *registry, const char *sysfs, DeviceMonitor **ret);
DeviceMonitor *device_monitor_free(DeviceMonitor *monitor);
DEFINE_CLEANUP(DeviceMonitor, device_monitor_free);

/* Enumerates everything again, without waiting for udev: what a module has just registered is in sysfs already. Returns
 * 0, or -errno. */
int device_monitor_enumerate(DeviceMonitor *monitor);
