/* SPDX-License-Identifier: GPL-2.0-only */

/* A name leads to one candidate, a role to several, which are tried in the registry's order until one is ready and
 * fits. A heap that is not ready has its module loaded, unless it is denied.
 *
 * Invariants: each step reports, or arranges for the next step in the event loop; never both. If no candidate can be
 * used, the failure of the first one is reported. A name that no module provides leaves nothing in the registry. */

#include <stdio.h>

#include "heap/heap-choice.h"
#include "util/log.h"
#include "util/time-util.h"

/* A heap that failed is tried again when it is asked for, at most this often. */
#define RETRY_INTERVAL_USEC USEC_PER_SEC

struct HeapChoice {
        HeapSources sources;
        char *name;        /* that was asked for; NULL for a role */
        char *role;        /* that was asked for; NULL for a name */
        Heap **candidates; /* of the role, NULL-terminated; NULL until they are known */
        size_t n_tried;    /* candidates before the one in hand */
        Heap *heap;        /* in hand; NULL for a role without candidates, or a name that the registry does not know */
        ChoiceResult failure; /* of the first candidate that failed; its heap is NULL until one has. Owns reason */
        bool denied;          /* a candidate was denied */
        heap_fits_t fits;
        heap_chosen_t on_chosen;
        void *userdata;
        RoundWait *wait;
        ModuleLoad *load;
        sd_event_source *source; /* the next step */
};

HeapChoice *heap_choice_free(HeapChoice *choice) {
        if (!choice)
                return NULL;

        round_wait_cancel(choice->wait);
        module_load_cancel(choice->load);
        sd_event_source_disable_unref(choice->source);
        free(choice->candidates);
        free(choice->name);
        free(choice->role);
        free((char *) choice->failure.reason);
        free(choice);
        return NULL;
}

const char *heap_choice_name(const HeapChoice *choice) {
        if (choice->heap)
                return choice->heap->name;

        return choice->name ?: choice->role;
}

/* The choice may be gone when this returns. */
static void choice_report(HeapChoice *choice, const ChoiceResult *result) {
        choice->on_chosen(result, choice->userdata);
}

/* Likewise. */
static void choice_report_errno(HeapChoice *choice, int error) {
        choice_report(choice, &(ChoiceResult) { .outcome = CHOICE_ERROR, .error = error });
}

static void choice_step(HeapChoice *choice);

static int on_step(sd_event_source *source _unused_, void *userdata) {
        choice_step(userdata);
        return 0;
}

static int on_step_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        choice_step(userdata);
        return 0;
}

static int choice_step_later(HeapChoice *choice, uint64_t usec) {
        sd_event *event = choice->sources.event;

        choice->source = sd_event_source_disable_unref(choice->source);

        return usec == 0 ? sd_event_add_defer(event, &choice->source, on_step, choice) :
                           sd_event_add_time_relative(
                                           event, &choice->source, CLOCK_MONOTONIC, usec, 0, on_step_timer, choice);
}

/* Goes on to the next candidate; without one, reports how the choice ends. The choice may be gone when this returns. */
static void choice_next(HeapChoice *choice) {
        if (choice->candidates && choice->candidates[choice->n_tried + 1]) {
                choice->heap = choice->candidates[++choice->n_tried];

                int r = choice_step_later(choice, 0);
                if (r < 0)
                        choice_report_errno(choice, r);
        } else if (choice->failure.heap)
                choice_report(choice, &choice->failure);
        else
                choice_report(choice,
                                &(ChoiceResult) { .outcome = choice->denied ? CHOICE_DENIED : CHOICE_NO_SUCH_HEAP });
}

static void choice_next_denied(HeapChoice *choice) {
        choice->denied = true;
        choice_next(choice);
}

/* The heap in hand, which the registry knows, does not fit. The choice may be gone when this returns. */
static void choice_next_unfit(HeapChoice *choice, HeapFit fit) {
        if (!choice->failure.heap)
                choice->failure = (ChoiceResult) { .outcome = CHOICE_UNFIT, .heap = choice->heap, .fit = fit };

        choice_next(choice);
}

void heap_choice_reject(HeapChoice *choice, const char *reason) {
        if (!choice->failure.heap) {
                char *copy = strdup(reason);
                if (!copy) {
                        choice_report_errno(choice, -ENOMEM);
                        return;
                }

                choice->failure =
                                (ChoiceResult) { .outcome = CHOICE_UNAVAILABLE, .heap = choice->heap, .reason = copy };
        }

        choice_next(choice);
}

/* The heap in hand is ready. The choice may be gone when this returns. */
static void choice_take(HeapChoice *choice) {
        HeapFit fit = choice->fits(choice->heap, choice->userdata);

        if (fit == HEAP_FIT)
                choice_report(choice, &(ChoiceResult) { .outcome = CHOICE_READY, .heap = choice->heap });
        else if (fit == HEAP_DENIED)
                choice_next_denied(choice);
        else
                choice_next_unfit(choice, fit);
}

/* A name may become known between two steps. */
static void choice_look_up_name(HeapChoice *choice) {
        if (choice->name)
                choice->heap = heap_registry_find(choice->sources.registry, choice->name);
}

/* The load has not made the heap ready. The choice may be gone when this returns. */
static void choice_load_failed(HeapChoice *choice, const ModuleResult *result) {
        HeapRegistry *registry = choice->sources.registry;
        const char *name = heap_choice_name(choice);
        const Heap *heap = choice->heap;
        char reason[MODULE_REASON_LENGTH];

        switch (result->outcome) {
        case MODULE_NOT_DECLARED:
                choice_next(choice);
                return;
        case MODULE_LOADED:
                (void) snprintf(reason,
                                sizeof(reason),
                                "module %s is loaded, but provides no heap of this name",
                                result->module);
                break;
        case MODULE_FAILED:
                (void) snprintf(reason, sizeof(reason), "%s", result->reason);
                break;
        }

        /* Of several choices that waited for one load, only the first logs its failure. */
        if (!heap || heap->state != HEAP_FAILED || !streq_ptr(heap->reason, reason))
                log_warning("Heap %s is not available: %s", name, reason);

        int r = heap_registry_failed(registry, name, result->module[0] ? result->module : NULL, reason, now_usec());
        if (r < 0) {
                choice_report_errno(choice, r);
                return;
        }

        choice_look_up_name(choice);
        heap_choice_reject(choice, reason);
}

static void on_loaded(const ModuleResult *result, void *userdata) {
        HeapChoice *choice = userdata;

        choice->load = NULL;

        /* udev will report the node as well, but the heap is in sysfs by now. */
        int r = device_monitor_enumerate(choice->sources.monitor);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot enumerate the heaps: %m");

        choice_look_up_name(choice);
        if (!choice->heap || choice->heap->state != HEAP_READY) {
                choice_load_failed(choice, result);
                return;
        }

        if (result->outcome == MODULE_LOADED && result->inserted)
                log_info("Loaded module %s for heap %s.", result->module, choice->heap->name);
        choice_take(choice);
}

/* Whether the module of the heap in hand is that of the first candidate that failed. */
static bool module_failed_already(const HeapChoice *choice) {
        const Heap *failed = choice->failure.heap, *heap = choice->heap;

        return failed && heap && failed != heap && failed->module && streq_ptr(failed->module, heap->module);
}

/* Has the module of the heap in hand loaded. The choice may be gone when this returns. */
static void choice_load(HeapChoice *choice) {
        const Heap *heap = choice->heap;
        uint64_t now = now_usec();
        int r;

        if (module_failed_already(choice)) {
                choice_next(choice);
                return;
        }

        if (heap && heap->state == HEAP_FAILED && heap->reason && heap->failed_at + RETRY_INTERVAL_USEC > now)
                r = choice_step_later(choice, heap->failed_at + RETRY_INTERVAL_USEC - now);
        else
                r = module_loader_load(heap_scan_loader(choice->sources.scan),
                                heap_choice_name(choice),
                                heap ? heap->module : NULL,
                                on_loaded,
                                choice,
                                &choice->load);
        if (r < 0)
                choice_report_errno(choice, r);
}

/* Finds the candidates of the role, with the returns of heap_registry_candidates(). */
static int choice_get_candidates(HeapChoice *choice) {
        int r = heap_registry_candidates(choice->sources.registry, choice->role, &choice->candidates);
        if (r >= 0)
                choice->heap = choice->candidates[0];

        return r;
}

static void on_scanned(void *userdata) {
        HeapChoice *choice = userdata;

        choice->wait = NULL;

        int r = choice_get_candidates(choice);
        if (r == -ENOENT)
                choice_report(choice, &(ChoiceResult) { .outcome = CHOICE_NO_SUCH_HEAP });
        else if (r < 0)
                choice_report_errno(choice, r);
        else
                choice_step(choice);
}

/* Finds the candidates of the role: now if one is ready, else after a scan of the modules. udmabuf, which stands in for
 * others, counts as ready only if the last scan is recent. The choice may be gone when this returns. */
static void choice_begin_role(HeapChoice *choice) {
        HeapScan *scan = choice->sources.scan;

        int r = choice_get_candidates(choice);
        if (r >= 0) {
                const Heap *first = choice->heap;

                if (first->state == HEAP_READY && (first->kind != HEAP_KIND_UDMABUF || heap_scan_is_recent(scan))) {
                        choice_step(choice);
                        return;
                }
                free(TAKE_PTR(choice->candidates));
                choice->heap = NULL;
        }

        r = heap_scan_wait(scan, on_scanned, choice, &choice->wait);
        if (r < 0)
                choice_report_errno(choice, r);
}

/* The heap in hand is not ready. The choice may be gone when this returns. */
static void choice_make_ready(HeapChoice *choice) {
        HeapRegistry *registry = choice->sources.registry;
        Heap stranger = heap_registry_stranger(registry, heap_choice_name(choice));

        if (choice->fits(choice->heap ?: &stranger, choice->userdata) == HEAP_DENIED) {
                choice_next_denied(choice);
                return;
        }

        if (stranger.kind != HEAP_KIND_UDMABUF) {
                choice_load(choice);
                return;
        }

        /* No heap module provides it. The registry may know its name, which no client has invented. */
        int r = heap_registry_get(registry, HEAP_UDMABUF, &choice->heap);
        if (r < 0)
                choice_report_errno(choice, r);
        else
                heap_choice_reject(choice, "this kernel has no /dev/udmabuf");
}

/* Goes on with the heap in hand. The choice may be gone when this returns. */
static void choice_step(HeapChoice *choice) {
        choice->source = sd_event_source_disable_unref(choice->source);

        choice_look_up_name(choice);
        if (choice->role && !choice->candidates)
                choice_begin_role(choice);
        else if (choice->heap && choice->heap->state == HEAP_READY)
                choice_take(choice);
        else
                choice_make_ready(choice);
}

int heap_choice_new(const HeapSources *sources, const char *heap, const char *role, heap_fits_t fits,
                heap_chosen_t on_chosen, void *userdata, HeapChoice **ret) {
        _cleanup_(heap_choice_freep) HeapChoice *choice = malloc(sizeof(HeapChoice));
        if (!choice)
                return -ENOMEM;

        *choice = (HeapChoice) {
                .sources = *sources,
                .name = heap ? strdup(heap) : NULL,
                .role = heap ? NULL : strdup(role),
                .fits = fits,
                .on_chosen = on_chosen,
                .userdata = userdata,
        };
        if (!choice->name && !choice->role)
                return -ENOMEM;

        int r = choice_step_later(choice, 0);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(choice);
        return 0;
}
