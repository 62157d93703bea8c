/* SPDX-License-Identifier: GPL-2.0-only */

/* The life of one Allocate: a heap, a reservation, a worker, a reply. Each step ends in a callback of the event
 * loop, and each may be the last: the reply is given once, by request_reply(), and a request that still has a job in a
 * worker then stays until the job is over, since only then is the memory surely free. */

#include <fcntl.h>
#include <stdio.h>

#include "fd-util.h"
#include "heap-choice.h"
#include "heap-udmabuf.h"
#include "log.h"
#include "request.h"
#include "time-util.h"

/* Why a heap was not taken, where the request is to blame. */
#define TOO_SMALL "it is smaller than the buffer"

struct AllocateRequest {
        AllocateRequest *next;
        Manager *manager;
        const Connection *connection; /* NULL once the reply was given */
        allocate_replied_t on_replied;
        void *userdata;

        HeapChoice *choice;
        char *heap; /* as asked for, or NULL */
        char *role; /* likewise */
        uint64_t size;
        uint32_t n_buffers;
        bool read_only;
        char *label;

        RoundWait *wait; /* for a census */
        Reservation reservation;
        uint64_t refused_at; /* when it was first over a limit; 0: not yet */
        bool retried;  /* an allocation failed, and a census was waited for: likewise */
        WorkerJob *job;
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
        heap_choice_free(request->choice);
        sd_event_source_disable_unref(request->deadline_source);
        free(request->heap);
        free(request->role);
        free(request->label);
        free(request);
        return NULL;
}
DEFINE_CLEANUP(AllocateRequest, allocate_request_free);

static const char *request_heap(const AllocateRequest *request) {
        return heap_choice_name(request->choice);
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
        (void) request_reply(request, &(AllocateReply) { .error = error, .heap = request_heap(request) });
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

/* What one buffer may have at the most, from this heap. 0: no bound that is known. */
static uint64_t heap_bound(const Manager *manager, const char *heap) {
        const Region *region = heap_registry_region_of(&manager->heaps, heap);

        return region ? region->size : 0;
}

/* Records the buffers before anyone else sees them, then hands them over. What is handed over, in part or whole, is charged
 * until a census says otherwise. */
static void request_deliver(AllocateRequest *request, WorkerResult *result) {
        Accounting *accounting = request->manager->accounting;
        LedgerBuffer buffers[BUFFERS_MAX];
        uint32_t n_buffers = request->n_buffers;

        for (size_t i = 0; i < n_buffers; i++)
                buffers[i] = (LedgerBuffer) { .inode = result->buffers[i].inode, .size = request->size };

        int r = accounting_record(accounting, &request->reservation, request->connection->peer, request->label,
                                  buffers, n_buffers);
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

static void request_allocate(AllocateRequest *request);

static void on_counted(void *userdata) {
        AllocateRequest *request = userdata;

        request->wait = NULL;
        request_allocate(request);
}

static void request_wait_census(AllocateRequest *request) {
        int r = accounting_wait_census(request->manager->accounting, on_counted, request, &request->wait);

        if (r < 0)
                request_fail_errno(request, r);
}

/* The kernel takes a buffer off its list a moment before a region has the pages back: so a region that is full is tried
 * again after a census. */
static void request_allocation_failed(AllocateRequest *request, int error) {
        accounting_release(request->manager->accounting, &request->reservation);

        if (error == -ENOMEM && !request->retried && heap_bound(request->manager, request_heap(request)) > 0) {
                request->retried = true;
                request_wait_census(request);
                return;
        }

        request_fail_errno(request, error);
}

/* Whether what is refused now may still be had. One census is waited for. Where the memory itself was found short while others
 * are being allocated, their bytes are perhaps seen twice, as reserved and as in use already: then for a second. */
static bool request_may_wait(const AllocateRequest *request, const AccountingRefusal *refusal) {
        if (request->refused_at == 0)
                return true;

        return (refusal->scope == QUOTA_SCOPE_CGROUP || refusal->scope == QUOTA_SCOPE_SYSTEM) &&
                accounting_in_flight(request->manager->accounting) && now_usec() < request->refused_at + USEC_PER_SEC;
}

/* Holds what is asked for against every limit. Returns true if it is held; else the request is on its way elsewhere. */
static bool request_reserve(AllocateRequest *request) {
        Accounting *accounting = request->manager->accounting;
        const Connection *connection = request->connection;
        const char *heap = request_heap(request);
        AccountingRefusal refusal;

        const char *obstacle = accounting_obstacle(accounting);
        if (obstacle) {
                request_fail_unavailable(request, heap, obstacle);
                return false;
        }

        int r = accounting_reserve(accounting, connection->peer, connection->client,
                                   heap_registry_find(&request->manager->heaps, heap), request->size, request->n_buffers,
                                   &request->reservation, &refusal);
        if (r >= 0)
                return true;

        if (r == -EDQUOT && request_may_wait(request, &refusal)) {
                request->refused_at = request->refused_at ?: now_usec();
                request_wait_census(request);
        } else if (r == -EDQUOT)
                (void) request_reply(request, &(AllocateReply) { .error = ALLOCATE_QUOTA_EXCEEDED, .refusal = &refusal });
        else if (r == -ENOENT)
                request_fail_resource(request, "cgroup");
        else
                request_fail_errno(request, r);
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
                request_fail_resource(request, "processes");
                break;
        }
}

/* Whether udmabuf can do what is asked for. Returns true if so; else the request is on its way elsewhere. */
static bool request_suits_udmabuf(AllocateRequest *request) {
        char reason[UDMABUF_REASON_LENGTH];

        if (request->read_only) {
                if (request->heap)
                        request_fail_parameter(request, "access");
                else
                        heap_choice_reject(request->choice, "udmabuf's buffers cannot be read-only");
                return false;
        }

        if (heap_udmabuf_refuses("/sys", request->size, reason)) {
                heap_choice_reject(request->choice, reason);
                return false;
        }

        return true;
}

/* The heap is there. */
static void request_allocate(AllocateRequest *request) {
        Manager *manager = request->manager;
        const char *heap = request_heap(request);
        bool udmabuf = streq(heap, HEAP_UDMABUF);
        char path[128];

        if (udmabuf && !request_suits_udmabuf(request))
                return;

        uint64_t bound = heap_bound(manager, heap);
        if (bound > 0 && request->size > bound) {
                if (request->heap)
                        request_fail_parameter(request, "size");
                else /* another of the role may be larger */
                        heap_choice_reject(request->choice, TOO_SMALL);
                return;
        }

        if (!request_reserve(request))
                return;

        int r = heap_device_path(heap, path, sizeof(path));
        if (r < 0) {
                request_fail_errno(request, r);
                return;
        }

        _cleanup_close_ int device_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        if (device_fd < 0 && (errno == EMFILE || errno == ENFILE)) {
                request_fail_errno(request, -errno);
                return;
        }
        if (device_fd < 0) {
                char reason[192];

                (void) snprintf(reason, sizeof(reason), "%s cannot be opened: %s", path, strerror(errno));
                accounting_release(manager->accounting, &request->reservation);
                heap_choice_reject(request->choice, reason);
                return;
        }

        r = worker_pool_submit(
                        manager->worker_pool,
                        &(WorkerJobParameters) {
                                .client = request->connection->client,
                                .cgroup_fd = request->connection->peer->cgroup_fd,
                                .cgroup_id = request->connection->peer->identity.cgroup_ids.ids[0],
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
                request_fail_errno(request, r);
}

static bool on_allowed(const char *heap, void *userdata) {
        AllocateRequest *request = userdata;

        /* A heap that no scan has found is subject to the rules for its name all the same. */
        const Heap *found = heap_registry_find(&request->manager->heaps, heap);
        const Heap unknown = { .name = (char *) heap };

        return accounting_may_use(request->manager->accounting, request->connection->peer, found ?: &unknown);
}

static void on_chosen(const ChoiceResult *result, void *userdata) {
        AllocateRequest *request = userdata;

        switch (result->outcome) {
        case CHOICE_READY:
                request_allocate(request);
                break;
        case CHOICE_NO_SUCH_HEAP:
                (void) request_reply(request, &(AllocateReply) {
                        .error = ALLOCATE_NO_SUCH_HEAP,
                        .heap = request->heap,
                        .role = request->role,
                });
                break;
        case CHOICE_UNAVAILABLE:
                if (streq(result->reason, TOO_SMALL)) /* the first there is, and no other was better */
                        request_fail_parameter(request, "size");
                else
                        request_fail_unavailable(request, result->heap, result->reason);
                break;
        case CHOICE_DENIED:
                request_fail(request, ALLOCATE_PERMISSION_DENIED);
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

static bool label_is_valid(const char *label) {
        size_t n = strlen(label);

        for (const char *p = label; *p; p++)
                if (*p < ' ' || *p > '~')
                        return false;

        return n >= 1 && n <= BUFFER_LABEL_MAX;
}

const char *allocate_parameters_check(const AllocateParameters *parameters) {
        const char *heap = parameters->heap, *role = parameters->role;

        if (heap && !heap_name_is_valid(heap))
                return "heap";
        if (role && (heap || !heap_name_is_valid(role)))
                return "role";
        if (parameters->size < 1 || parameters->size > BUFFER_SIZE_MAX)
                return "size";
        if (parameters->n_buffers < 1 || parameters->n_buffers > BUFFERS_MAX)
                return "count";
        if (parameters->label && !label_is_valid(parameters->label))
                return "label";
        return NULL;
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

        char **asked = parameters->heap ? &request->heap : &request->role;
        *asked = strdup(parameters->heap ?: parameters->role ?: HEAP_ROLE_DEFAULT);
        if (!*asked)
                return -ENOMEM;

        r = heap_choice_new(
                        &(HeapSources) {
                                .event = manager->event,
                                .registry = &manager->heaps,
                                .scan = manager->heap_scan,
                                .monitor = manager->device_monitor,
                        },
                        request->heap,
                        request->role,
                        on_allowed,
                        on_chosen,
                        request,
                        &request->choice);
        if (r < 0)
                return r;

        if (manager->config->allocation_timeout_usec != UINT64_MAX) {
                r = sd_event_add_time_relative(manager->event, &request->deadline_source, CLOCK_MONOTONIC,
                                               manager->config->allocation_timeout_usec, 0, on_deadline, request);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(request);
        return 0;
}
