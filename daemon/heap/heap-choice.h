/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "heap/device-monitor.h"
#include "heap/heap-scan.h"
#include "heap/heap.h"

/* Finds the heap for a request, and has its module loaded if need be: the named one, or the best of a role. */
typedef struct HeapChoice HeapChoice;

/* Where to look. Everything is borrowed, and must outlive the choice. */
typedef struct HeapSources {
        sd_event *event;
        HeapRegistry *registry;
        HeapScan *scan;
        DeviceMonitor *monitor;
} HeapSources;

/* Whether a heap can serve a request. */
typedef enum HeapFit {
        HEAP_FIT,
        HEAP_DENIED,             /* the client may not use it */
        HEAP_NOT_READ_ONLY,      /* it has no read-only buffers */
        HEAP_PAST_UDMABUF_LIMIT, /* a buffer would pass the kernel's udmabuf.size_limit_mb */
        HEAP_TOO_SMALL,          /* its region is smaller than a buffer */
} HeapFit;

/* Asked before a module is loaded for a heap, when only HEAP_DENIED counts and the heap may be one that the registry
 * does not know; and again when the heap is ready. The heap is borrowed for the call. Must not free the choice. */
typedef HeapFit (*heap_fits_t)(const Heap *heap, void *userdata);

typedef enum ChoiceOutcome {
        CHOICE_READY,        /* heap is ready and fits */
        CHOICE_NO_SUCH_HEAP, /* no heap has this name or serves this role, and no module would provide one */
        CHOICE_DENIED,       /* it is denied; of a role, every heap is */
        CHOICE_UNFIT,        /* heap does not fit, see fit */
        CHOICE_UNAVAILABLE,  /* heap cannot be used, see reason */
        CHOICE_ERROR,        /* see error */
} ChoiceOutcome;

/* Where no heap of a role can be used, CHOICE_UNFIT and CHOICE_UNAVAILABLE tell of the first one that was tried. */
typedef struct ChoiceResult {
        ChoiceOutcome outcome;
        Heap *heap;         /* the registry's */
        HeapFit fit;        /* neither HEAP_FIT nor HEAP_DENIED */
        const char *reason; /* in words for an administrator; borrowed */
        int error;          /* negative errno */
} ChoiceResult;

/* Called from the event loop: once, and once more after each heap_choice_reject(), perhaps before that returns. May
 * free the choice, and *result with it; neither is touched afterwards. */
typedef void (*heap_chosen_t)(const ChoiceResult *result, void *userdata);

/* heap: the name that was asked for, or NULL; then role is used. Both are copied. Returns 0, or -errno. */
int heap_choice_new(const HeapSources *sources, const char *heap, const char *role, heap_fits_t fits,
                heap_chosen_t on_chosen, void *userdata, HeapChoice **ret);
HeapChoice *heap_choice_free(HeapChoice *choice);
DEFINE_CLEANUP(HeapChoice, heap_choice_free);

/* The heap that was chosen cannot be used after all: goes on with the next one of the role. reason is copied. The
 * choice may be gone when this returns. */
void heap_choice_reject(HeapChoice *choice, const char *reason);

/* The name of the heap in hand; before there is one, the name or the role that was asked for. Good until the choice
 * goes on. */
const char *heap_choice_name(const HeapChoice *choice);
