/* SPDX-License-Identifier: GPL-2.0-only */

/* The life of one Allocate: a heap, a reservation, a worker, a reply. Each step ends in a callback of the event loop.
 *
 * Invariants: request_reply() gives the only reply. A request that has a job in a worker stays, with its reservation,
 * until the job is over, since only then is the memory surely free. Buffers are in the ledger before the client has
 * them. */

#include <fcntl.h>
#include <stdio.h>

#include "heap/heap-udmabuf.h"
#include "request.h"
#include "util/buffer-limits.h"
#include "util/fd-util.h"
#include "util/list.h"
#include "util/log.h"
#include "util/time-util.h"

struct AllocateRequest {
        AllocateRequest *next;
        Allocator *allocator;
        const Connection *connection; /* NULL once the reply was given, or the request was cancelled */
        allocate_replied_t on_replied;
        void *userdata;

        char *asked_heap; /* or NULL */
        char *asked_role; /* or NULL */
        uint64_t size;    /* in whole pages */
        uint32_t n_buffers;
        bool read_only;
        char *label;

        HeapChoice *choice;
        Heap *heap;                                 /* that was chosen, or NULL */
        char udmabuf_reason[UDMABUF_REASON_LENGTH]; /* once a fit was HEAP_PAST_UDMABUF_LIMIT */

        RoundWait *wait; /* for a census */
        Reservation reservation;
        uint64_t refused_at; /* when it was first over a limit; 0: not yet */
        bool retried;        /* an allocation failed, and a census was waited for */
        WorkerJob *job;
        sd_event_source *deadline_source;
};

static AllocateRequest *allocate_request_free(AllocateRequest *request) {
        if (!request)
                return NULL;

        (void) LIST_REMOVE(request->allocator->requests, request);
        accounting_release(request->allocator->accounting, &request->reservation);
        round_wait_cancel(request->wait);
        heap_choice_free(request->choice);
        sd_event_source_disable_unref(request->deadline_source);
        free(request->asked_heap);
        free(request->asked_role);
        free(request->label);
        free(request);
        return NULL;
}
DEFINE_CLEANUP(AllocateRequest, allocate_request_free);

void allocator_done(Allocator *allocator) {
        while (allocator->requests)
                allocate_request_free(allocator->requests);
}

/* The heap that errors tell of; before there is one, the name or role that was asked for. */
static const char *request_heap(const AllocateRequest *request) {
        return heap_choice_name(request->choice);
}

/* No reply is given after this. The request may be gone when this returns. */
static void request_end(AllocateRequest *request) {
        request->connection = NULL;

        if (!request->job) {
                allocate_request_free(request);
                return;
        }

        request->deadline_source = sd_event_source_disable_unref(request->deadline_source);
        worker_job_kill(request->job); /* on_allocated() will free the request */
}

/* Gives the one reply. The request may be gone when this returns. */
static bool request_reply(AllocateRequest *request, const AllocateReply *reply) {
        bool delivered = request->on_replied(reply, request->userdata);

        request_end(request);
        return delivered;
}

static void request_fail(AllocateRequest *request, AllocateError error) {
        (void) request_reply(request, &(AllocateReply) { .error = error, .heap = request_heap(request) });
}

static void request_fail_resource(AllocateRequest *request, const char *resource) {
        (void) request_reply(request, &(AllocateReply) { .error = ALLOCATE_OUT_OF_RESOURCES, .resource = resource });
}

static void request_fail_parameter(AllocateRequest *request, const char *parameter) {
        (void) request_reply(request, &(AllocateReply) { .error = ALLOCATE_INVALID_PARAMETER, .parameter = parameter });
}

static void request_fail_unavailable(AllocateRequest *request, const char *heap, const char *reason) {
        (void) request_reply(request,
                        &(AllocateReply) { .error = ALLOCATE_HEAP_UNAVAILABLE, .heap = heap, .reason = reason });
}

static void request_fail_errno(AllocateRequest *request, int error) {
        switch (error) {
        case -ENOMEM:
                request_fail(request, ALLOCATE_OUT_OF_MEMORY);
                break;
        case -EMFILE:
        case -ENFILE:
                request_fail_resource(request, "fileDescriptors");
                break;
        case -ETOOMANYREFS:
                request_fail_resource(request, "inFlight");
                break;
        default: {
                char reason[128];

                (void) snprintf(reason, sizeof(reason), "the kernel refused the allocation: %s", strerror(-error));
                request_fail_unavailable(request, request_heap(request), reason);
        }
        }
}

/* Records the buffers in the ledger, then hands them over. If a part of them reached the client, all stay charged until
 * a census does not find them. The request may be gone when this returns. */
static void request_deliver(AllocateRequest *request, WorkerResult *result) {
        Accounting *accounting = request->allocator->accounting;
        LedgerBuffer buffers[BUFFERS_MAX];
        uint32_t n_buffers = request->n_buffers;

        for (size_t i = 0; i < n_buffers; i++)
                buffers[i] = (LedgerBuffer) { .inode = result->buffers[i].inode, .size = request->size };

        int r = accounting_record(accounting,
                        &request->reservation,
                        request->connection->peer,
                        request->label,
                        buffers,
                        n_buffers);
        if (r == -EEXIST) { /* a new buffer cannot be in the ledger: the worker lied */
                request_fail_resource(request, "processes");
                return;
        }
        if (r < 0) {
                (void) log_warning_errno(r, "Cannot record buffers in the ledger: %m");
                request_fail_resource(request, "ledger");
                return;
        }

        bool delivered = request_reply(request,
                        &(AllocateReply) {
                                .heap = request_heap(request),
                                .buffers = result->buffers,
                                .n_buffers = result->n_buffers,
                                .size = request->size,
                        });
        if (!delivered)
                accounting_withdraw(accounting, buffers, n_buffers);
}

static void request_allocate(AllocateRequest *request);

static void on_counted(void *userdata) {
        AllocateRequest *request = userdata;

        request->wait = NULL;
        request_allocate(request);
}

static void request_wait_census(AllocateRequest *request) {
        int r = accounting_wait_census(request->allocator->accounting, on_counted, request, &request->wait);

        if (r < 0)
                request_fail_errno(request, r);
}

/* The kernel takes a buffer off its list a moment before its region has the pages back, so an allocation from a region
 * that was full is tried again after a census. The request may be gone when this returns. */
static void request_allocation_failed(AllocateRequest *request, int error) {
        accounting_release(request->allocator->accounting, &request->reservation);

        if (error == -ENOMEM && !request->retried && heap_size_max(request->heap) > 0) {
                request->retried = true;
                request_wait_census(request);
                return;
        }

        request_fail_errno(request, error);
}

/* Whether to retry a refused reservation. Each request gets one retry after a census. Refusals of the control group and
 * the system may be false while others allocate (bytes count as reserved and as used), so those retry for up to a
 * second. */
static bool request_may_wait(const AllocateRequest *request, const AccountingRefusal *refusal) {
        if (request->refused_at == 0)
                return true;

        return (refusal->scope == QUOTA_SCOPE_CGROUP || refusal->scope == QUOTA_SCOPE_SYSTEM) &&
                        accounting_in_flight(request->allocator->accounting) &&
                        now_usec() < request->refused_at + USEC_PER_SEC;
}

/* Reserves the buffers against every limit. On false the request has been answered or continues from a callback:
 * do not touch it. */
static bool request_reserve(AllocateRequest *request) {
        Accounting *accounting = request->allocator->accounting;
        const Connection *connection = request->connection;
        AccountingRefusal refusal;

        const char *obstacle = accounting_obstacle(accounting);
        if (obstacle) {
                request_fail_unavailable(request, request->heap->name, obstacle);
                return false;
        }

        int r = accounting_reserve(accounting,
                        connection->peer,
                        connection->client,
                        request->heap,
                        request->size,
                        request->n_buffers,
                        &request->reservation,
                        &refusal);
        if (r >= 0)
                return true;

        if (r == -EDQUOT && request_may_wait(request, &refusal)) {
                request->refused_at = request->refused_at ?: now_usec();
                request_wait_census(request);
        } else if (r == -EDQUOT)
                (void) request_reply(
                                request, &(AllocateReply) { .error = ALLOCATE_QUOTA_EXCEEDED, .refusal = &refusal });
        else if (r == -ENOENT)
                request_fail_resource(request, "cgroup");
        else
                request_fail_errno(request, r);
        return false;
}

static void on_allocated(WorkerResult *result, void *userdata) {
        AllocateRequest *request = userdata;

        request->job = NULL;

        if (!request->connection) { /* answered or cancelled; the pool closes the fds */
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
                request_fail_resource(request, "processes");
                break;
        }
}

/* Opens the device of the heap. On a negative return the request has been answered or continues from a callback: do not
 * touch it. */
static int request_open_device(AllocateRequest *request) {
        char path[128], reason[192];

        int r = heap_device_path(request->heap, path, sizeof(path));
        if (r < 0) {
                request_fail_errno(request, r);
                return r;
        }

        int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (fd >= 0)
                return fd;

        r = -errno;
        if (r == -EMFILE || r == -ENFILE) {
                request_fail_errno(request, r);
                return r;
        }

        (void) snprintf(reason, sizeof(reason), "%s cannot be opened: %s", path, strerror(-r));
        accounting_release(request->allocator->accounting, &request->reservation);
        heap_choice_reject(request->choice, reason);
        return r;
}

/* Allocates from the chosen heap. The request may be gone when this returns. */
static void request_allocate(AllocateRequest *request) {
        if (!request_reserve(request))
                return;

        _cleanup_close_ int device_fd = request_open_device(request);
        if (device_fd < 0)
                return;

        int r = worker_pool_submit(request->allocator->worker_pool,
                        &(WorkerJobParameters) {
                                .client = request->connection->client,
                                .cgroup_fd = request->connection->peer->cgroup_fd,
                                .cgroup_id = request->connection->peer->identity.cgroup_ids.ids[0],
                                .device_fd = device_fd,
                                .size = request->size,
                                .n_buffers = request->n_buffers,
                                .flags = (request->read_only ? WORKER_READ_ONLY : 0) |
                                                (request->heap->kind == HEAP_KIND_UDMABUF ? WORKER_UDMABUF : 0),
                                .label = request->label,
                        },
                        on_allocated,
                        request,
                        &request->job);
        if (r < 0)
                request_fail_errno(request, r);
}

static HeapFit on_fits(const Heap *heap, void *userdata) {
        AllocateRequest *request = userdata;
        uint64_t size_max = heap_size_max(heap);

        if (!accounting_may_use(request->allocator->accounting, request->connection->peer, heap))
                return HEAP_DENIED;
        if (heap->kind == HEAP_KIND_UDMABUF && request->read_only)
                return HEAP_NOT_READ_ONLY;
        if (heap->kind == HEAP_KIND_UDMABUF && heap_udmabuf_refuses("/sys", request->size, request->udmabuf_reason))
                return HEAP_PAST_UDMABUF_LIMIT;
        if (size_max > 0 && request->size > size_max)
                return HEAP_TOO_SMALL;
        return HEAP_FIT;
}

/* The heap does not fit; of a role, none does. The request may be gone when this returns. */
static void request_fail_unfit(AllocateRequest *request, const Heap *heap, HeapFit fit) {
        if (fit == HEAP_TOO_SMALL)
                request_fail_parameter(request, "size");
        else if (fit == HEAP_PAST_UDMABUF_LIMIT)
                request_fail_unavailable(request, heap->name, request->udmabuf_reason);
        else if (request->asked_heap)
                request_fail_parameter(request, "access");
        else
                request_fail_unavailable(request, heap->name, "udmabuf's buffers cannot be read-only");
}

static void on_chosen(const ChoiceResult *result, void *userdata) {
        AllocateRequest *request = userdata;

        switch (result->outcome) {
        case CHOICE_READY:
                request->heap = result->heap;
                request_allocate(request);
                break;
        case CHOICE_NO_SUCH_HEAP:
                (void) request_reply(request,
                                &(AllocateReply) {
                                        .error = ALLOCATE_NO_SUCH_HEAP,
                                        .heap = request->asked_heap,
                                        .role = request->asked_role,
                                });
                break;
        case CHOICE_DENIED:
                request_fail(request, ALLOCATE_PERMISSION_DENIED);
                break;
        case CHOICE_UNFIT:
                request_fail_unfit(request, result->heap, result->fit);
                break;
        case CHOICE_UNAVAILABLE:
                request_fail_unavailable(request, result->heap->name, result->reason);
                break;
        case CHOICE_ERROR:
                request_fail_errno(request, result->error);
                break;
        }
}

static int on_deadline(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        AllocateRequest *request = userdata;

        request_fail(request, ALLOCATE_TIMED_OUT);
        return 0;
}

void allocate_request_cancel(AllocateRequest *request) {
        request_end(request);
}

/* Copies the parameters. Returns 0 or -ENOMEM. */
static int request_set_parameters(AllocateRequest *request, const AllocateParameters *parameters) {
        uint64_t page_size = sysconf(_SC_PAGESIZE);

        request->size = (parameters->size + page_size - 1) / page_size * page_size;
        request->n_buffers = parameters->n_buffers;
        request->read_only = parameters->read_only;

        if (parameters->label) {
                request->label = strdup(parameters->label);
                if (!request->label)
                        return -ENOMEM;
        }

        char **asked = parameters->heap ? &request->asked_heap : &request->asked_role;
        *asked = strdup(parameters->heap ?: parameters->role ?: HEAP_ROLE_DEFAULT);
        return *asked ? 0 : -ENOMEM;
}

int allocate_request_new(Allocator *allocator, const Connection *connection, const AllocateParameters *parameters,
                allocate_replied_t on_replied, void *userdata, AllocateRequest **ret) {
        int r;

        _cleanup_(allocate_request_freep) AllocateRequest *request = calloc(1, sizeof(AllocateRequest));
        if (!request)
                return -ENOMEM;

        request->allocator = allocator;
        LIST_PREPEND(allocator->requests, request);
        request->connection = connection;
        request->on_replied = on_replied;
        request->userdata = userdata;

        r = request_set_parameters(request, parameters);
        if (r < 0)
                return r;

        r = heap_choice_new(&allocator->heaps,
                        request->asked_heap,
                        request->asked_role,
                        on_fits,
                        on_chosen,
                        request,
                        &request->choice);
        if (r < 0)
                return r;

        if (allocator->timeout_usec != UINT64_MAX) {
                r = sd_event_add_time_relative(allocator->heaps.event,
                                &request->deadline_source,
                                CLOCK_MONOTONIC,
                                allocator->timeout_usec,
                                0,
                                on_deadline,
                                request);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(request);
        return 0;
}
