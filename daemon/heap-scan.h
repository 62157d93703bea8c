/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "heap.h"
#include "module-loader.h"

/* Keeps what the registry knows of loadable heaps up to date: depmod(8) may run and modprobe.d may change while the daemon
 * does. The files are read again when somebody asks, and at most once a second. */
typedef struct HeapScan HeapScan;

/* One who waits for a scan. */
typedef struct HeapScanWait HeapScanWait;
typedef void (*heap_scanned_t)(void *userdata);

/* loader is given by heap_scan_set_loader(), since its callback needs this object. */
int heap_scan_new(sd_event *event, HeapRegistry *registry, HeapScan **ret);
HeapScan *heap_scan_free(HeapScan *scan);
DEFINE_CLEANUP(HeapScan, heap_scan_free);

void heap_scan_set_loader(HeapScan *scan, ModuleLoader *loader);

/* What module_loader_new() wants called, with the HeapScan as userdata. */
void heap_scan_on_declarations(const ModuleDeclaration *declarations, size_t n, void *userdata);

/* Calls on_scanned, once and never from within, after a scan that began after this call: at once, or a second after the
 * last one. Returns 0, or -errno. */
int heap_scan_wait(HeapScan *scan, heap_scanned_t on_scanned, void *userdata, HeapScanWait **ret);

/* Stops waiting. Accepts NULL, returns NULL. */
HeapScanWait *heap_scan_wait_cancel(HeapScanWait *wait);

/* True if the last scan ended less than a second ago: for those who need not have it newer. */
bool heap_scan_is_recent(const HeapScan *scan);
