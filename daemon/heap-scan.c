/* SPDX-License-Identifier: GPL-2.0-only */

#include <time.h>

#include "heap-scan.h"
#include "log.h"
#include "time-util.h"

#define SCAN_INTERVAL_USEC USEC_PER_SEC

struct HeapScanWait {
        HeapScanWait *next;
        HeapScan *scan;
        uint64_t after; /* a scan of a higher number will do */
        heap_scanned_t on_scanned;
        void *userdata;
};

struct HeapScan {
        sd_event *event;
        HeapRegistry *registry;
        ModuleLoader *loader;
        HeapScanWait *waits;
        uint64_t n_started;
        bool running;
        uint64_t started_at;
        uint64_t ended_at;
        sd_event_source *timer;
};

int heap_scan_new(sd_event *event, HeapRegistry *registry, HeapScan **ret) {
        HeapScan *scan = calloc(1, sizeof(HeapScan));
        if (!scan)
                return -ENOMEM;

        scan->event = sd_event_ref(event);
        scan->registry = registry;
        *ret = scan;
        return 0;
}

HeapScan *heap_scan_free(HeapScan *scan) {
        if (!scan)
                return NULL;

        while (scan->waits)
                heap_scan_wait_cancel(scan->waits);
        sd_event_source_disable_unref(scan->timer);
        sd_event_unref(scan->event);
        free(scan);
        return NULL;
}

void heap_scan_set_loader(HeapScan *scan, ModuleLoader *loader) {
        scan->loader = loader;
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        HeapScan *scan = userdata;

        scan->timer = sd_event_source_disable_unref(scan->timer);

        int r = module_loader_scan(scan->loader);
        if (r < 0)
                return log_error_errno(r, "Cannot look for kernel modules of heaps: %m");

        scan->running = true;
        scan->n_started++;
        scan->started_at = now_usec();
        return 0;
}

/* Sees to it that a scan begins, as soon as one may. */
static int scan_schedule(HeapScan *scan) {
        uint64_t due = scan->n_started > 0 ? scan->started_at + SCAN_INTERVAL_USEC : 0, now = now_usec();

        if (scan->timer || scan->running)
                return 0;

        return sd_event_add_time_relative(scan->event, &scan->timer, CLOCK_MONOTONIC, due > now ? due - now : 0, 0, on_timer, scan);
}

void heap_scan_on_declarations(const ModuleDeclaration *declarations, size_t n, void *userdata) {
        HeapScan *scan = userdata;

        scan->running = false;
        scan->ended_at = now_usec();

        heap_registry_scan_begin(scan->registry);
        for (size_t i = 0; i < n; i++) {
                if (!heap_name_is_valid(declarations[i].heap)) {
                        log_debug("Module %s is declared for a heap of an impossible name.", declarations[i].module);
                        continue;
                }

                int r = heap_registry_declare(scan->registry, declarations[i].heap, declarations[i].module, declarations[i].installed);
                if (r < 0)
                        (void) log_warning_errno(r, "Cannot take note of heap %s: %m", declarations[i].heap);
        }
        heap_registry_scan_end(scan->registry);

        /* Who came while this scan was running waits for the next. A callback may begin or end waits: start over each time. */
        for (HeapScanWait **p = &scan->waits; *p;) {
                HeapScanWait *wait = *p;

                if (wait->after >= scan->n_started) {
                        p = &wait->next;
                        continue;
                }

                heap_scanned_t on_scanned = wait->on_scanned;
                void *on_scanned_userdata = wait->userdata;

                heap_scan_wait_cancel(wait);
                on_scanned(on_scanned_userdata);
                p = &scan->waits;
        }

        if (scan->waits)
                (void) scan_schedule(scan);
}

int heap_scan_wait(HeapScan *scan, heap_scanned_t on_scanned, void *userdata, HeapScanWait **ret) {
        HeapScanWait *wait = malloc(sizeof(HeapScanWait));
        if (!wait)
                return -ENOMEM;

        int r = scan_schedule(scan);
        if (r < 0) {
                free(wait);
                return r;
        }

        *wait = (HeapScanWait) {
                .next = scan->waits,
                .scan = scan,
                .after = scan->n_started,
                .on_scanned = on_scanned,
                .userdata = userdata,
        };
        scan->waits = *ret = wait;
        return 0;
}

HeapScanWait *heap_scan_wait_cancel(HeapScanWait *wait) {
        if (!wait)
                return NULL;

        for (HeapScanWait **p = &wait->scan->waits; *p; p = &(*p)->next)
                if (*p == wait) {
                        *p = wait->next;
                        break;
                }

        free(wait);
        return NULL;
}

bool heap_scan_is_recent(const HeapScan *scan) {
        return scan->ended_at > 0 && now_usec() - scan->ended_at < SCAN_INTERVAL_USEC;
}
