/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "accounting/accounting.h"
#include "clients/connection.h"
#include "heap/heap-choice.h"
#include "worker/worker-pool.h"

/* One Allocate call of a client. request.c opens with its life. */
typedef struct AllocateRequest AllocateRequest;

/* The objects that requests work with. Everything but the requests is borrowed, and must outlive them. */
typedef struct Allocator {
        HeapSources heaps;
        Accounting *accounting;
        WorkerPool *worker_pool;
        uint64_t timeout_usec;     /* of requests that begin from now on; UINT64_MAX: none */
        AllocateRequest *requests; /* those without a reply, and those whose job is not over */
} Allocator;

/* Frees every request in whatever state it is, and calls nobody. */
void allocator_done(Allocator *allocator);

/* The most bytes of one buffer. */
#define BUFFER_SIZE_MAX (UINT64_C(1) << 47)

typedef struct AllocateParameters {
        const char *heap;   /* or NULL; excludes role */
        const char *role;   /* or NULL; neither means HEAP_ROLE_DEFAULT */
        uint64_t size;      /* bytes of each buffer, 1 to BUFFER_SIZE_MAX */
        uint64_t n_buffers; /* 1 to BUFFERS_MAX */
        bool read_only;
        const char *label; /* or NULL; 1 to BUFFER_LABEL_MAX bytes of printable ASCII */
} AllocateParameters;

/* The errors of the interface; after each, the members of AllocateReply that it uses. */
typedef enum AllocateError {
        ALLOCATE_SUCCESS,           /* heap, buffers, n_buffers, size */
        ALLOCATE_NO_SUCH_HEAP,      /* heap or role, whichever was asked for */
        ALLOCATE_HEAP_UNAVAILABLE,  /* heap, reason */
        ALLOCATE_PERMISSION_DENIED, /* none */
        ALLOCATE_QUOTA_EXCEEDED,    /* refusal */
        ALLOCATE_OUT_OF_MEMORY,     /* heap */
        ALLOCATE_OUT_OF_RESOURCES,  /* resource */
        ALLOCATE_TIMED_OUT,         /* heap */
        ALLOCATE_INVALID_PARAMETER, /* parameter */
} AllocateError;

/* Everything is borrowed, except for fds that the callee takes out of buffers. */
typedef struct AllocateReply {
        AllocateError error;
        const char *heap;
        const char *role;
        const char *reason;
        const char *resource;
        const char *parameter;
        const AccountingRefusal *refusal;
        WorkerBuffer *buffers; /* as many as asked for */
        size_t n_buffers;
        uint64_t size; /* of each, in whole pages */
} AllocateReply;

/* Called once, and never from within allocate_request_new(). The request ends itself afterwards, so the callee forgets
 * it and neither cancels nor frees it. Returns false if the buffers did not reach the client's connection: then nobody
 * has them. */
typedef bool (*allocate_replied_t)(const AllocateReply *reply, void *userdata);

/* Begins an allocation: chooses the heap, loads its module if need be, has a worker allocate. parameters, which must be
 * valid, are copied. The connection must stay until the reply or allocate_request_cancel(). Returns 0, or -errno: then
 * there is no request. */
int allocate_request_new(Allocator *allocator, const Connection *connection, const AllocateParameters *parameters,
                allocate_replied_t on_replied, void *userdata, AllocateRequest **ret);

/* Ends a request without a reply: the client has gone. Memory that a worker allocates meanwhile is freed. The request
 * may be gone when this returns. */
void allocate_request_cancel(AllocateRequest *request);
