/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "heap.h"

/* Tells the heap registry which heaps and which CMA regions the kernel has, at the start and whenever udev(7) reports a
 * change: devices of the subsystem "dma_heap", and of "cma_region" where our module of that name is loaded. Elsewhere the
 * regions are those of /sys/kernel/mm/cma that heaps can serve; their sizes are from there in both cases. */
typedef struct DeviceMonitor DeviceMonitor;

/* Enumerates, then follows. registry must outlive the monitor. sysfs: where sysfs is mounted, "/sys" but for tests.
 * Returns 0, or -errno. */
int device_monitor_new(sd_event *event, HeapRegistry *registry, const char *sysfs, DeviceMonitor **ret);
DeviceMonitor *device_monitor_free(DeviceMonitor *monitor);
DEFINE_CLEANUP(DeviceMonitor, device_monitor_free);

/* Looks again at everything now, without waiting for udev: what a module has just registered is in sysfs already. */
int device_monitor_enumerate(DeviceMonitor *monitor);
