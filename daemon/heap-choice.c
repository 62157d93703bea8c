/* SPDX-License-Identifier: GPL-2.0-only */

/* A name leads to one candidate, a role to several, which are tried in their order: those that are ready first, then those
 * that a module would provide, then udmabuf. Of what could not be had, the first is what the client will be told. */

#include <stdio.h>

#include "heap-choice.h"
#include "log.h"
#include "time-util.h"

/* A heap that failed is tried again when somebody asks, at most this often. */
#define RETRY_INTERVAL_USEC USEC_PER_SEC

struct HeapChoice {
        HeapSources sources;
        char *role; /* or NULL: there is one candidate */
        char **candidates;
        size_t candidate;  /* the one in hand */
        char *failed_heap; /* the first that could not be had, and why */
        char *failed_reason;
        bool denied;       /* one was not allowed */
        heap_allowed_t allowed;
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
        strv_free(choice->candidates);
        free(choice->role);
        free(choice->failed_heap);
        free(choice->failed_reason);
        free(choice);
        return NULL;
}

const char *heap_choice_name(const HeapChoice *choice) {
        return choice->candidates ? choice->candidates[choice->candidate] : choice->role;
}

/* The choice may be gone when this returns. */
static void choice_report(HeapChoice *choice, ChoiceOutcome outcome) {
        choice->on_chosen(&(ChoiceResult) { .outcome = outcome, .heap = heap_choice_name(choice) }, choice->userdata);
}

static void choice_report_errno(HeapChoice *choice, int error) {
        choice->on_chosen(&(ChoiceResult) { .outcome = CHOICE_ERROR, .heap = heap_choice_name(choice), .error = error }, choice->userdata);
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

        return usec == 0 ?
                sd_event_add_defer(event, &choice->source, on_step, choice) :
                sd_event_add_time_relative(event, &choice->source, CLOCK_MONOTONIC, usec, 0, on_step_timer, choice);
}

/* Goes on to the next candidate, if there is one; else says how it ends. */
static void choice_next(HeapChoice *choice) {
        if (choice->candidates[choice->candidate + 1]) {
                choice->candidate++;

                int r = choice_step_later(choice, 0);
                if (r < 0)
                        choice_report_errno(choice, r);
        } else if (choice->failed_heap)
                choice->on_chosen(
                                &(ChoiceResult) {
                                        .outcome = CHOICE_UNAVAILABLE,
                                        .heap = choice->failed_heap,
                                        .reason = choice->failed_reason,
                                },
                                choice->userdata);
        else
                choice_report(choice, choice->denied ? CHOICE_DENIED : CHOICE_NO_SUCH_HEAP);
}

void heap_choice_reject(HeapChoice *choice, const char *reason) {
        if (!choice->failed_heap) {
                choice->failed_heap = strdup(heap_choice_name(choice));
                choice->failed_reason = strdup(reason);
                if (!choice->failed_heap || !choice->failed_reason) {
                        choice_report_errno(choice, -ENOMEM);
                        return;
                }
        }

        choice_next(choice);
}

static void on_loaded(const ModuleResult *result, void *userdata) {
        HeapChoice *choice = userdata;
        HeapRegistry *registry = choice->sources.registry;
        const char *name = heap_choice_name(choice);
        char reason[MODULE_REASON_LENGTH];
        int r;

        choice->load = NULL;

        /* udev will say so as well, but what was registered is in sysfs by now. */
        r = device_monitor_enumerate(choice->sources.monitor);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot enumerate the heaps: %m");

        const Heap *heap = heap_registry_find(registry, name);
        if (heap && heap->state == HEAP_READY) {
                if (result->outcome == MODULE_LOADED && result->inserted)
                        log_info("Loaded module %s for heap %s.", result->module, name);
                choice_report(choice, CHOICE_READY);
                return;
        }

        switch (result->outcome) {
        case MODULE_NOT_DECLARED:
                choice_next(choice);
                return;
        case MODULE_LOADED:
                (void) snprintf(reason, sizeof(reason), "module %s is loaded, but provides no heap of this name", result->module);
                break;
        case MODULE_FAILED:
                (void) snprintf(reason, sizeof(reason), "%s", result->reason);
                break;
        }

        /* Of those who waited for one load the first says it to the journal. */
        if (!heap || heap->state != HEAP_FAILED || !streq_ptr(heap->reason, reason))
                log_warning("Heap %s is not available: %s", name, reason);

        r = heap_registry_failed(registry, name, result->module[0] ? result->module : NULL, reason, now_usec());
        if (r < 0)
                choice_report_errno(choice, r);
        else
                heap_choice_reject(choice, reason);
}

/* Whether the heap's module is one that this choice has found wanting under another of its heaps' names. */
static bool module_failed_already(const HeapChoice *choice, const Heap *heap) {
        const Heap *failed = choice->failed_heap ? heap_registry_find(choice->sources.registry, choice->failed_heap) : NULL;

        return failed && heap && failed != heap && failed->module && streq_ptr(failed->module, heap->module);
}

static void choice_load(HeapChoice *choice, const Heap *heap) {
        uint64_t now = now_usec();
        int r;

        if (module_failed_already(choice, heap)) {
                choice_next(choice);
                return;
        }

        if (heap && heap->state == HEAP_FAILED && heap->reason && heap->failed_at + RETRY_INTERVAL_USEC > now)
                r = choice_step_later(choice, heap->failed_at + RETRY_INTERVAL_USEC - now);
        else
                r = module_loader_load(heap_scan_loader(choice->sources.scan), heap_choice_name(choice), heap ? heap->module : NULL,
                                       on_loaded, choice, &choice->load);
        if (r < 0)
                choice_report_errno(choice, r);
}

static void on_scanned(void *userdata) {
        HeapChoice *choice = userdata;

        choice->wait = NULL;

        int r = heap_registry_candidates(choice->sources.registry, choice->role, &choice->candidates);
        if (r == -ENOENT)
                choice_report(choice, CHOICE_NO_SUCH_HEAP);
        else if (r < 0)
                choice_report_errno(choice, r);
        else
                choice_step(choice);
}

/* The heaps of a role: at once if one is ready, else after a look at what can be loaded by now; udmabuf is only what is left. */
static void choice_find_candidates(HeapChoice *choice) {
        HeapRegistry *registry = choice->sources.registry;

        int r = heap_registry_candidates(registry, choice->role, &choice->candidates);
        if (r >= 0) {
                const char *first = choice->candidates[0];

                if (heap_registry_find(registry, first)->state == HEAP_READY &&
                    (!streq(first, HEAP_UDMABUF) || heap_scan_is_recent(choice->sources.scan))) {
                        choice_step(choice);
                        return;
                }
                strv_free(TAKE_PTR(choice->candidates));
        }

        r = heap_scan_wait(choice->sources.scan, on_scanned, choice, &choice->wait);
        if (r < 0)
                choice_report_errno(choice, r);
}

/* Goes on with the candidate in hand. */
static void choice_step(HeapChoice *choice) {
        choice->source = sd_event_source_disable_unref(choice->source);

        if (!choice->candidates) {
                choice_find_candidates(choice);
                return;
        }

        const char *name = heap_choice_name(choice);
        if (!choice->allowed(name, choice->userdata)) {
                choice->denied = true;
                choice_next(choice);
                return;
        }

        const Heap *heap = heap_registry_find(choice->sources.registry, name);
        if (heap && heap->state == HEAP_READY)
                choice_report(choice, CHOICE_READY);
        else if (streq(name, HEAP_UDMABUF))
                heap_choice_reject(choice, "this kernel has no /dev/udmabuf"); /* no heap module provides it */
        else
                choice_load(choice, heap);
}

int heap_choice_new(const HeapSources *sources, const char *heap, const char *role, heap_allowed_t allowed,
                    heap_chosen_t on_chosen, void *userdata, HeapChoice **ret) {
        _cleanup_(heap_choice_freep) HeapChoice *choice = malloc(sizeof(HeapChoice));
        if (!choice)
                return -ENOMEM;

        *choice = (HeapChoice) {
                .sources = *sources,
                .allowed = allowed,
                .on_chosen = on_chosen,
                .userdata = userdata,
        };

        if (heap)
                choice->candidates = strv_copy((char *const[]) { (char *) heap, NULL });
        else
                choice->role = strdup(role);
        if (!choice->candidates && !choice->role)
                return -ENOMEM;

        int r = choice_step_later(choice, 0);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(choice);
        return 0;
}
