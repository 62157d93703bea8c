/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "manager.h"

/* The most bytes of one buffer. */
#define BUFFER_SIZE_MAX (UINT64_C(1) << 47)

typedef struct AllocateParameters {
        const char *heap;  /* or NULL; excludes role */
        const char *role;  /* or NULL; neither means HEAP_ROLE_DEFAULT */
        uint64_t size;     /* bytes of each buffer, 1 to BUFFER_SIZE_MAX */
        uint64_t n_buffers;/* 1 to BUFFERS_MAX */
        bool read_only;
        const char *label; /* or NULL; 1 to BUFFER_LABEL_MAX bytes of printable ASCII */
} AllocateParameters;

/* Looks at them as a client has sent them. Returns NULL, or the name of the one that the interface does not allow. */
const char *allocate_parameters_check(const AllocateParameters *parameters);

/* The errors of the interface, and what each one says. */
typedef enum AllocateError {
        ALLOCATE_SUCCESS,
        ALLOCATE_NO_SUCH_HEAP,      /* heap or role, whichever was asked for */
        ALLOCATE_HEAP_UNAVAILABLE,  /* heap, reason */
        ALLOCATE_PERMISSION_DENIED, /* nothing */
        ALLOCATE_QUOTA_EXCEEDED,    /* refusal */
        ALLOCATE_OUT_OF_MEMORY,     /* heap */
        ALLOCATE_OUT_OF_RESOURCES,  /* resource */
        ALLOCATE_TIMED_OUT,         /* heap */
        ALLOCATE_INVALID_PARAMETER, /* parameter */
} AllocateError;

/* Everything is borrowed, but for the fds that are taken out of buffers. */
typedef struct AllocateReply {
        AllocateError error;
        const char *heap;
        const char *role;
        const char *reason;
        const char *resource;
        const char *parameter;
        const AccountingRefusal *refusal;
        WorkerBuffer *buffers; /* ALLOCATE_SUCCESS: as many as asked for */
        size_t n_buffers;
        uint64_t size; /* of each, in whole pages */
} AllocateReply;

/* Called once, and never from within allocate_request_new(). Returns false if the buffers did not reach the client's
 * connection: then nobody has them. */
typedef bool (*allocate_replied_t)(const AllocateReply *reply, void *userdata);

/* Begins an allocation: chooses the heap, loads its module if need be, has a worker allocate. parameters, which must be in order, are copied; the
 * connection must stay until the reply or allocate_request_cancel(). Returns 0, or -errno: then there is no request. */
int allocate_request_new(Manager *manager, const Connection *connection, const AllocateParameters *parameters,
                         allocate_replied_t on_replied, void *userdata, AllocateRequest **ret);

/* The client has gone: nobody is called any more. What is under way is undone. */
void allocate_request_cancel(AllocateRequest *request);

/* Frees it in whatever state it is; for the manager's own end. */
AllocateRequest *allocate_request_free(AllocateRequest *request);
