/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "heap.h"
#include "module-loader.h"
#include "rounds.h"

/* Keeps what the registry knows of loadable heaps up to date: depmod(8) may run and modprobe.d may change while the daemon
 * does. The files are read again when somebody asks, and at most once a second. Owns the module loader, which reads them. */
typedef struct HeapScan HeapScan;

int heap_scan_new(sd_event *event, HeapRegistry *registry, HeapScan **ret);
HeapScan *heap_scan_free(HeapScan *scan);
DEFINE_CLEANUP(HeapScan, heap_scan_free);

ModuleLoader *heap_scan_loader(HeapScan *scan);

/* Calls on_scanned after a scan that began after this call; see rounds_wait(). */
int heap_scan_wait(HeapScan *scan, round_done_t on_scanned, void *userdata, RoundWait **ret);

/* True if the last scan ended less than a second ago: for those who need not have it newer. */
bool heap_scan_is_recent(const HeapScan *scan);
