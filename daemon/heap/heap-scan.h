/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "heap/heap.h"
#include "heap/module-loader.h"
#include "util/rounds.h"

/* Keeps up to date what the registry knows of loadable heaps, since depmod(8) may run and modprobe.d may change at any
 * time. The files are read again when somebody waits for it, and at most once a second. Owns the module loader, which
 * reads them. */
typedef struct HeapScan HeapScan;

/* registry: borrowed, must outlive the scan. Returns 0, or -ENOMEM. */
int heap_scan_new(sd_event *event, HeapRegistry *registry, HeapScan **ret);
HeapScan *heap_scan_free(HeapScan *scan);
DEFINE_CLEANUP(HeapScan, heap_scan_free);

/* The module loader, for loads. Stays the scan's. */
ModuleLoader *heap_scan_loader(HeapScan *scan);

/* Calls on_scanned after a scan that began after this call; see rounds_wait(). */
int heap_scan_wait(HeapScan *scan, round_done_t on_scanned, void *userdata, RoundWait **ret);

/* True if the last scan ended less than a second ago. */
bool heap_scan_is_recent(const HeapScan *scan);
