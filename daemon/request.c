/* SPDX-License-Identifier: GPL-2.0-only */

/* The life of one Allocate: candidates, a module if need be, a worker, a reply. Each step ends in a callback of the event
 * loop, and each may be the last: the reply is given once, by request_reply(), and a request that still has a job in a
 * worker then stays until the job is over, since only then is the memory surely free. */

#include <fcntl.h>
#include <stdio.h>

#include "fd-util.h"
#include "log.h"
#include "request.h"
#include "strv.h"
#include "time-util.h"

/* A heap that failed is tried again when somebody asks, at most this often. */
#define RETRY_INTERVAL_USEC USEC_PER_SEC

struct AllocateRequest {
        AllocateRequest *next;
        Manager *manager;
        const Connection *connection; /* NULL once the reply was given */
        allocate_replied_t on_replied;
        void *userdata;

        char *role; /* or NULL: candidates has the one heap asked for */
        uint64_t size;
        uint32_t n_buffers;
        bool read_only;
        char *label;

        char **candidates;
        size_t candidate; /* the one in hand */
        char *failed_heap; /* the first that could not be had, and why */
        char *failed_reason;

        RoundWait *wait; /* for a scan, or a census */
        ModuleLoad *load;
        Reservation reservation;
        bool counted;  /* a census was waited for: what is refused now stays refused */
        bool retried;  /* an allocation failed, and a census was waited for: likewise */
        WorkerJob *job;
        sd_event_source *step_source;     /* the next step, from the event loop */
        sd_event_source *deadline_source;
};

AllocateRequest *allocate_request_free(AllocateRequest *request) {
        if (!request)
                return NULL;

        for (AllocateRequest **p = &request->manager->requests; *p; p = &(*p)->next)
                if (*p == request) {
                        *p = request->next;
                        break;
                }

        accounting_release(request->manager->accounting, &request->reservation);
        round_wait_cancel(request->wait);
        module_load_cancel(request->load);
        sd_event_source_disable_unref(request->step_source);
        sd_event_source_disable_unref(request->deadline_source);
        strv_free(request->candidates);
        free(request->role);
        free(request->label);
        free(request->failed_heap);
        free(request->failed_reason);
        free(request);
        return NULL;
}
DEFINE_CLEANUP(AllocateRequest, allocate_request_free);

static void request_step(AllocateRequest *request);
static uint64_t heap_bound(const Manager *manager, const char *heap);

static const char *request_heap(const AllocateRequest *request) {
        return request->candidates ? request->candidates[request->candidate] : NULL;
}

/* Nothing more is to be told to anybody. */
static void request_end(AllocateRequest *request) {
        request->connection = NULL;

        if (!request->job) {
                allocate_request_free(request);
                return;
        }

        request->deadline_source = sd_event_source_disable_unref(request->deadline_source);
        worker_job_kill(request->job); /* request_done() will free */
}

/* Gives the one reply. The request may be gone when this returns. */
static bool request_reply(AllocateRequest *request, const AllocateReply *reply) {
        bool delivered = request->on_replied(reply, request->userdata);

        request_end(request);
        return delivered;
}

static void request_fail(AllocateRequest *request, AllocateError error) {
        /* Before a heap is chosen the role stands for it. */
        const char *heap = request->candidates ? request_heap(request) : request->role;

        (void) request_reply(request, &(AllocateReply) { .error = error, .heap = heap });
}

static void request_fail_resource(AllocateRequest *request, const char *resource) {
        (void) request_reply(request, &(AllocateReply) { .error = ALLOCATE_OUT_OF_RESOURCES, .resource = resource });
}

static void request_fail_parameter(AllocateRequest *request, const char *parameter) {
        (void) request_reply(request, &(AllocateReply) { .error = ALLOCATE_INVALID_PARAMETER, .parameter = parameter });
}

static void request_fail_unavailable(AllocateRequest *request, const char *heap, const char *reason) {
        (void) request_reply(request, &(AllocateReply) { .error = ALLOCATE_HEAP_UNAVAILABLE, .heap = heap, .reason = reason });
}

static void request_fail_no_heap(AllocateRequest *request) {
        (void) request_reply(request, &(AllocateReply) {
                .error = ALLOCATE_NO_SUCH_HEAP,
                .role = request->role,
                .heap = request->role ? NULL : request_heap(request),
        });
}

static void request_fail_errno(AllocateRequest *request, int error) {
        switch (error) {
        case ENOMEM:
                request_fail(request, ALLOCATE_OUT_OF_MEMORY);
                break;
        case EMFILE:
        case ENFILE:
                request_fail_resource(request, "fileDescriptors");
                break;
        case ETOOMANYREFS:
                request_fail_resource(request, "inFlight");
                break;
        default: {
                char reason[128];

                (void) snprintf(reason, sizeof(reason), "the kernel refused the allocation: %s", strerror(error));
                request_fail_unavailable(request, request_heap(request), reason);
        }
        }
}

static int on_step(sd_event_source *source _unused_, void *userdata) {
        request_step(userdata);
        return 0;
}

static int on_step_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        request_step(userdata);
        return 0;
}

static void request_step_later(AllocateRequest *request, uint64_t usec) {
        sd_event *event = request->manager->event;

        request->step_source = sd_event_source_disable_unref(request->step_source);

        int r = usec == 0 ?
                sd_event_add_defer(event, &request->step_source, on_step, request) :
                sd_event_add_time_relative(event, &request->step_source, CLOCK_MONOTONIC, usec, 0, on_step_timer, request);
        if (r < 0)
                request_fail_errno(request, -r);
}

/* The candidate in hand cannot be had. With a role, the next is tried; what failed first is what will be told. */
static void request_next_candidate(AllocateRequest *request, const char *reason) {
        if (!request->failed_heap && reason) {
                request->failed_heap = strdup(request_heap(request));
                request->failed_reason = strdup(reason);
                if (!request->failed_heap || !request->failed_reason) {
                        request_fail_errno(request, ENOMEM);
                        return;
                }
        }

        if (request->candidates[request->candidate + 1]) {
                request->candidate++;
                request_step_later(request, 0);
        } else if (request->failed_heap)
                request_fail_unavailable(request, request->failed_heap, request->failed_reason);
        else
                request_fail_no_heap(request);
}

/* What one buffer may have at the most, from this heap. 0: no bound that is known. */
static uint64_t heap_bound(const Manager *manager, const char *heap) {
        const Region *region = heap_registry_region_of(&manager->heaps, heap);

        return region ? region->size : 0;
}

/* Records the buffers before anyone else sees them, then hands them over. What is handed over, in part or whole, is charged
 * until a census says otherwise. */
static void request_deliver(AllocateRequest *request, WorkerResult *result) {
        Accounting *accounting = request->manager->accounting;
        LedgerBuffer buffers[WORKER_BUFFERS_MAX];
        uint32_t n_buffers = request->n_buffers;

        for (size_t i = 0; i < n_buffers; i++)
                buffers[i] = (LedgerBuffer) { .inode = result->buffers[i].inode, .size = request->size };

        int r = accounting_record(accounting, &request->reservation, request->connection->peer, request_heap(request),
                                  request->label, buffers, n_buffers);
        if (r == -EEXIST) { /* a worker cannot have made what is in the ledger already */
                request_fail_resource(request, "processes");
                return;
        }
        if (r < 0) {
                (void) log_warning_errno(r, "Cannot record buffers in the ledger: %m");
                request_fail_resource(request, "ledger");
                return;
        }

        bool delivered = request_reply(request, &(AllocateReply) {
                .heap = request_heap(request),
                .buffers = result->buffers,
                .n_buffers = result->n_buffers,
                .size = request->size,
        });
        if (!delivered)
                accounting_withdraw(accounting, buffers, n_buffers);
}

static void on_counted(void *userdata) {
        AllocateRequest *request = userdata;

        request->wait = NULL;
        request_step(request);
}

static void request_wait_census(AllocateRequest *request) {
        int r = accounting_wait_census(request->manager->accounting, on_counted, request, &request->wait);

        if (r < 0)
                request_fail_errno(request, -r);
}

/* The kernel takes a buffer off its list a moment before a region has the pages back: so a region that is full is tried
 * again after a census. */
static void request_allocation_failed(AllocateRequest *request, int error) {
        accounting_release(request->manager->accounting, &request->reservation);

        if (error == ENOMEM && !request->retried && heap_bound(request->manager, request_heap(request)) > 0) {
                request->retried = true;
                request_wait_census(request);
                return;
        }

        request_fail_errno(request, error);
}

/* Holds what is asked for against every limit. Returns true if it is held; else the request is on its way elsewhere. */
static bool request_reserve(AllocateRequest *request) {
        Accounting *accounting = request->manager->accounting;
        const Connection *connection = request->connection;
        const char *heap = request_heap(request);
        AccountingRefusal refusal;

        if (!accounting_may_use(accounting, connection->peer, heap)) {
                request_fail(request, ALLOCATE_PERMISSION_DENIED);
                return false;
        }

        const char *obstacle = accounting_obstacle(accounting);
        if (obstacle) {
                request_fail_unavailable(request, heap, obstacle);
                return false;
        }

        int r = accounting_reserve(accounting, connection->peer, connection->client, heap, request->size, request->n_buffers,
                                   &request->reservation, &refusal);
        if (r >= 0)
                return true;

        if (r == -EDQUOT && !request->counted) {
                request->counted = true;
                request_wait_census(request);
        } else if (r == -EDQUOT)
                (void) request_reply(request, &(AllocateReply) { .error = ALLOCATE_QUOTA_EXCEEDED, .refusal = &refusal });
        else if (r == -ENOENT)
                request_fail_resource(request, "cgroup");
        else
                request_fail_errno(request, -r);
        return false;
}

static void on_allocated(WorkerResult *result, void *userdata) {
        AllocateRequest *request = userdata;

        request->job = NULL;

        if (!request->connection) { /* told already, or nobody left to tell; the fds are closed by the pool */
                allocate_request_free(request);
                return;
        }

        switch (result->outcome) {
        case WORKER_ALLOCATED:
                request_deliver(request, result);
                break;
        case WORKER_ERROR:
                request_allocation_failed(request, result->error);
                break;
        case WORKER_OOM_KILLED:
                request_fail(request, ALLOCATE_OUT_OF_MEMORY);
                break;
        case WORKER_NO_CGROUP:
                request_fail_resource(request, "cgroup");
                break;
        case WORKER_NO_PROCESS:
        case WORKER_KILLED:
        case WORKER_MISBEHAVED:
                request_fail_resource(request, "processes");
                break;
        }
}

/* The heap is there. */
static void request_allocate(AllocateRequest *request) {
        Manager *manager = request->manager;
        const char *heap = request_heap(request);
        bool udmabuf = streq(heap, HEAP_UDMABUF);
        char path[128];

        if (udmabuf && request->read_only) {
                if (request->role)
                        request_next_candidate(request, "udmabuf's buffers cannot be read-only");
                else
                        request_fail_parameter(request, "access");
                return;
        }

        uint64_t bound = heap_bound(manager, heap);
        if (bound > 0 && request->size > bound) {
                request_fail_parameter(request, "size");
                return;
        }

        if (!request_reserve(request))
                return;

        int r = heap_device_path(heap, path, sizeof(path));
        if (r < 0) {
                request_fail_errno(request, -r);
                return;
        }

        _cleanup_close_ int device_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (device_fd < 0) {
                char reason[192];

                (void) snprintf(reason, sizeof(reason), "%s cannot be opened: %s", path, strerror(errno));
                accounting_release(manager->accounting, &request->reservation);
                request_next_candidate(request, reason);
                return;
        }

        r = worker_pool_submit(
                        manager->worker_pool,
                        &(WorkerJobParameters) {
                                .client = request->connection->client,
                                .cgroup_fd = request->connection->peer->cgroup_fd,
                                .cgroup_id = request->connection->peer->cgroup_ids.ids[0],
                                .device_fd = device_fd,
                                .size = request->size,
                                .n_buffers = request->n_buffers,
                                .flags = (request->read_only ? WORKER_READ_ONLY : 0) | (udmabuf ? WORKER_UDMABUF : 0),
                                .label = request->label,
                        },
                        on_allocated,
                        request,
                        &request->job);
        if (r < 0)
                request_fail_errno(request, -r);
}

static void on_loaded(const ModuleResult *result, void *userdata) {
        AllocateRequest *request = userdata;
        HeapRegistry *heaps = &request->manager->heaps;
        const char *name = request_heap(request);
        char reason[MODULE_REASON_LENGTH];
        int r;

        request->load = NULL;

        /* udev will say so as well, but what was registered is in sysfs by now. */
        r = device_monitor_enumerate(request->manager->device_monitor);
        if (r < 0)
                (void) log_warning_errno(r, "Cannot enumerate the heaps: %m");

        const Heap *heap = heap_registry_find(heaps, name);
        if (heap && heap->state == HEAP_READY) {
                if (result->outcome == MODULE_LOADED && result->inserted)
                        log_info("Loaded module %s for heap %s.", result->module, name);
                request_allocate(request);
                return;
        }

        switch (result->outcome) {
        case MODULE_NOT_DECLARED:
                request_next_candidate(request, NULL);
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

        r = heap_registry_failed(heaps, name, result->module[0] ? result->module : NULL, reason, now_usec());
        if (r < 0) {
                request_fail_errno(request, -r);
                return;
        }

        request_next_candidate(request, reason);
}

/* Whether the heap's module is one that this request has found wanting under another of its heaps' names. */
static bool module_failed_already(AllocateRequest *request, const Heap *heap) {
        const Heap *failed = request->failed_heap ? heap_registry_find(&request->manager->heaps, request->failed_heap) : NULL;

        return failed && failed != heap && failed->module && heap && streq_ptr(failed->module, heap->module);
}

static void request_load(AllocateRequest *request, const Heap *heap) {
        uint64_t now = now_usec();

        if (module_failed_already(request, heap)) {
                request_next_candidate(request, NULL);
                return;
        }

        if (heap && heap->state == HEAP_FAILED && heap->reason && heap->failed_at + RETRY_INTERVAL_USEC > now) {
                request_step_later(request, heap->failed_at + RETRY_INTERVAL_USEC - now);
                return;
        }

        int r = module_loader_load(heap_scan_loader(request->manager->heap_scan), request_heap(request), heap ? heap->module : NULL,
                                   on_loaded, request, &request->load);
        if (r < 0)
                request_fail_errno(request, -r);
}

static void on_scanned(void *userdata) {
        AllocateRequest *request = userdata;

        request->wait = NULL;

        int r = heap_registry_candidates(&request->manager->heaps, request->role, &request->candidates);
        if (r == -ENOENT)
                request_fail_no_heap(request);
        else if (r < 0)
                request_fail_errno(request, -r);
        else
                request_step(request);
}

/* The heaps of a role: at once if one is ready, else after a look at what can be loaded by now. */
static void request_choose(AllocateRequest *request) {
        Manager *manager = request->manager;

        int r = heap_registry_candidates(&manager->heaps, request->role, &request->candidates);
        if (r >= 0) {
                if (heap_registry_find(&manager->heaps, request->candidates[0])->state == HEAP_READY) {
                        request_step(request);
                        return;
                }
                strv_free(TAKE_PTR(request->candidates));
        }

        r = heap_scan_wait(manager->heap_scan, on_scanned, request, &request->wait);
        if (r < 0)
                request_fail_errno(request, -r);
}

/* Goes on with the candidate in hand. */
static void request_step(AllocateRequest *request) {
        request->step_source = sd_event_source_disable_unref(request->step_source);

        if (!request->candidates) {
                request_choose(request);
                return;
        }

        const Heap *heap = heap_registry_find(&request->manager->heaps, request_heap(request));
        if (heap && heap->state == HEAP_READY)
                request_allocate(request);
        else if (streq(request_heap(request), HEAP_UDMABUF))
                request_next_candidate(request, "this kernel has no /dev/udmabuf"); /* no heap module provides it */
        else
                request_load(request, heap);
}

static int on_deadline(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        AllocateRequest *request = userdata;

        request_fail(request, ALLOCATE_TIMED_OUT);
        return 0;
}

void allocate_request_cancel(AllocateRequest *request) {
        request_end(request);
}

int allocate_request_new(Manager *manager, const Connection *connection, const AllocateParameters *parameters,
                         allocate_replied_t on_replied, void *userdata, AllocateRequest **ret) {
        uint64_t page_size = sysconf(_SC_PAGESIZE);
        int r;

        _cleanup_(allocate_request_freep) AllocateRequest *request = calloc(1, sizeof(AllocateRequest));
        if (!request)
                return -ENOMEM;

        request->manager = manager;
        request->next = manager->requests;
        manager->requests = request;

        request->connection = connection;
        request->on_replied = on_replied;
        request->userdata = userdata;
        request->size = (parameters->size + page_size - 1) / page_size * page_size;
        request->n_buffers = parameters->n_buffers;
        request->read_only = parameters->read_only;

        if (parameters->label) {
                request->label = strdup(parameters->label);
                if (!request->label)
                        return -ENOMEM;
        }

        if (parameters->heap)
                request->candidates = strv_copy((char *const[]) { (char *) parameters->heap, NULL });
        else
                request->role = strdup(parameters->role ? parameters->role : HEAP_ROLE_DEFAULT);
        if (!request->candidates && !request->role)
                return -ENOMEM;

        if (manager->config->allocation_timeout_usec != UINT64_MAX) {
                r = sd_event_add_time_relative(manager->event, &request->deadline_source, CLOCK_MONOTONIC,
                                               manager->config->allocation_timeout_usec, 0, on_deadline, request);
                if (r < 0)
                        return r;
        }

        /* The first step comes from the event loop: the caller has its request before it has the reply. */
        r = sd_event_add_defer(manager->event, &request->step_source, on_step, request);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(request);
        return 0;
}
