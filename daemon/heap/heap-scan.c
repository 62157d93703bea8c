/* SPDX-License-Identifier: GPL-2.0-only */

/* Decides when the declarations of modules are read. The invariant: the registry holds the result of one whole scan,
 * never a part of one. */

#include "heap/heap-scan.h"
#include "util/log.h"
#include "util/time-util.h"

#define SCAN_INTERVAL_USEC USEC_PER_SEC

struct HeapScan {
        HeapRegistry *registry;
        ModuleLoader *loader;
        Rounds *rounds;
};

HeapScan *heap_scan_free(HeapScan *scan) {
        if (!scan)
                return NULL;

        module_loader_free(scan->loader);
        rounds_free(scan->rounds);
        free(scan);
        return NULL;
}

static int on_start(void *userdata) {
        HeapScan *scan = userdata;

        int r = module_loader_scan(scan->loader);
        if (r < 0)
                (void) log_error_errno(r, "Cannot look for kernel modules of heaps: %m");
        return r;
}

static void on_declarations(const ModuleDeclaration *declarations, size_t n, void *userdata) {
        HeapScan *scan = userdata;

        heap_registry_scan_begin(scan->registry);
        for (size_t i = 0; i < n; i++) {
                if (!heap_name_is_valid(declarations[i].heap)) {
                        log_debug("Ignoring module %s, which is declared for a heap whose name is not valid.",
                                        declarations[i].module);
                        continue;
                }

                int r = heap_registry_declare(scan->registry,
                                declarations[i].heap,
                                declarations[i].module,
                                declarations[i].installed);
                if (r < 0)
                        (void) log_warning_errno(r, "Cannot take note of heap %s: %m", declarations[i].heap);
        }
        heap_registry_scan_end(scan->registry);

        rounds_finished(scan->rounds);
}

int heap_scan_new(sd_event *event, HeapRegistry *registry, HeapScan **ret) {
        int r;

        _cleanup_(heap_scan_freep) HeapScan *scan = calloc(1, sizeof(HeapScan));
        if (!scan)
                return -ENOMEM;

        scan->registry = registry;

        r = rounds_new(event, on_start, scan, &scan->rounds);
        if (r < 0)
                return r;
        rounds_set_interval(scan->rounds, SCAN_INTERVAL_USEC);

        r = module_loader_new(event, on_declarations, scan, &scan->loader);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(scan);
        return 0;
}

ModuleLoader *heap_scan_loader(HeapScan *scan) {
        return scan->loader;
}

int heap_scan_wait(HeapScan *scan, round_done_t on_scanned, void *userdata, RoundWait **ret) {
        return rounds_wait(scan->rounds, on_scanned, userdata, ret);
}

bool heap_scan_is_recent(const HeapScan *scan) {
        uint64_t ended_at = rounds_ended_at(scan->rounds);

        return ended_at > 0 && now_usec() - ended_at < SCAN_INTERVAL_USEC;
}
