/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "device-monitor.h"
#include "heap-scan.h"
#include "heap.h"

/* Finds the heap for one request, and has its module loaded if need be: the one that was named, or the best of a role. */
typedef struct HeapChoice HeapChoice;

typedef enum ChoiceOutcome {
        CHOICE_READY,        /* heap can be allocated from */
        CHOICE_NO_SUCH_HEAP, /* nobody provides it, nor would any module */
        CHOICE_UNAVAILABLE,  /* heap is known, and reason says why it cannot be had; of a role, the first one */
        CHOICE_DENIED,       /* it is not allowed; of a role, none that could be had is */
        CHOICE_ERROR,        /* something else went wrong: see error */
} ChoiceOutcome;

typedef struct ChoiceResult {
        ChoiceOutcome outcome;
        const char *heap;
        const char *reason;
        int error; /* CHOICE_ERROR: negative errno */
} ChoiceResult;

/* Called from the event loop: once, and again after each heap_choice_reject(). */
typedef void (*heap_chosen_t)(const ChoiceResult *result, void *userdata);

/* Whether the request may use a heap: asked before anything is loaded for it. */
typedef bool (*heap_allowed_t)(const char *heap, void *userdata);

/* Where to look. Everything is borrowed, and must outlive the choice. */
typedef struct HeapSources {
        sd_event *event;
        HeapRegistry *registry;
        HeapScan *scan;
        DeviceMonitor *monitor;
} HeapSources;

/* heap: the one that was asked for, or NULL; then role is what is wanted. Returns 0, or -errno. */
int heap_choice_new(const HeapSources *sources, const char *heap, const char *role, heap_allowed_t allowed,
                    heap_chosen_t on_chosen, void *userdata, HeapChoice **ret);
HeapChoice *heap_choice_free(HeapChoice *choice);
DEFINE_CLEANUP(HeapChoice, heap_choice_free);

/* The heap that was chosen cannot be used after all: goes on with the next of the role, if there is one. */
void heap_choice_reject(HeapChoice *choice, const char *reason);

/* The heap in hand; before there is one, what was asked for. */
const char *heap_choice_name(const HeapChoice *choice);
