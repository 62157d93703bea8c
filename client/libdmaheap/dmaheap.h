/* SPDX-License-Identifier: MIT */
/*
 * libdmaheap: dma-bufs from dmaheapd, the allocator service.
 *
 *     DmaHeapConnection *c = NULL;
 *     DmaHeapReply *reply = NULL;
 *     DmaHeapError *error = NULL;
 *     int r, fd;
 *
 *     r = dmaheap_connection_new(NULL, &c);
 *     ...
 *     r = dmaheap_allocate(c, &(DmaHeapRequest) { .role = "contiguous", .size = 8 << 20, .count = 4 },
 *                          &reply, &error);
 *     if (r < 0)
 *             fprintf(stderr, "%s\n", dmaheap_error_message(error));
 *     else
 *             fd = dmaheap_reply_take_fd(reply, 0);
 *     dmaheap_error_free(error);
 *     dmaheap_reply_free(reply);
 *     dmaheap_connection_free(c);
 *
 * Conventions, for every function unless its comment says otherwise:
 *
 * - Functions return 0 or a positive number for success and a negative errno for failure. What they give back
 *   through a ret_ parameter is untouched on failure.
 * - ret_error may be NULL. If it is not, a failing call that knows more than its errno stores a new DmaHeapError
 *   there, to be freed with dmaheap_error_free(); otherwise it is untouched (initialise it with NULL).
 * - Sizes are in bytes, times in microseconds. Strings are UTF-8 and belong to the object they came from.
 * - Every file descriptor is close-on-exec.
 *
 * Errors of a call to the daemon, each with its own errno:
 *
 *     -ENOENT        no such heap or role                         DMAHEAP_NO_SUCH_HEAP
 *     -ENODEV        the heap exists but cannot be used           DMAHEAP_HEAP_UNAVAILABLE
 *     -EDQUOT        a limit would be passed                      DMAHEAP_QUOTA_EXCEEDED
 *     -ENOMEM        no memory left for the heap                  DMAHEAP_OUT_OF_MEMORY
 *                    (or in this process: no DmaHeapError then)
 *     -EAGAIN        the daemon ran out of something else         DMAHEAP_OUT_OF_RESOURCES
 *     -ETIME         the daemon gave up on the allocation         DMAHEAP_TIMED_OUT
 *     -EINVAL        the request makes no sense                   DMAHEAP_INVALID_PARAMETER
 *     -EPERM         not for this caller                          DMAHEAP_PERMISSION_DENIED
 *     -EOPNOTSUPP    the daemon does not know this method         DMAHEAP_NOT_SUPPORTED
 *     -ECONNREFUSED  no daemon to reach                           DMAHEAP_UNREACHABLE
 *     -EACCES        the socket is not open to this user          DMAHEAP_UNREACHABLE
 *     -ECONNRESET    the daemon went away before it had answered  DMAHEAP_DISCONNECTED
 *     -ETIMEDOUT     no answer within the connection's timeout    DMAHEAP_NO_ANSWER
 *     -EPROTO        an answer that makes no sense                DMAHEAP_PROTOCOL
 *     -EREMOTEIO     an error this library does not know          DMAHEAP_OTHER
 *     -EMFILE        this process has no room for the fds         (no DmaHeapError)
 *     -ECHILD        the connection was made before a fork()      (no DmaHeapError)
 *     -EBUSY         a blocking call while others are in flight   (no DmaHeapError)
 *
 * After -ECONNRESET, -ETIMEDOUT and -EPROTO it is not known whether the daemon did what was asked; buffers of such a
 * call are freed by the kernel, as nobody holds them. The next call connects anew.
 *
 * Threads: a connection may be used by any number of threads at the same time; their calls are made one after the
 * other, and the time spent waiting for each other counts towards the timeout. For allocations in parallel give each
 * thread a connection. A reply, an error and a request belong to one thread at a time.
 *
 * Processes: after a fork() the child may only free a connection, and everything else returns -ECHILD there.
 */
#ifndef DMAHEAP_H
#define DMAHEAP_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default)

/* Where the daemon listens. */
#define DMAHEAP_ADDRESS "/run/dmaheapd/io.dmaheapd.Allocator"

/* The most buffers of one request. */
#define DMAHEAP_BUFFERS_MAX 253

/* In a field that says how much may be used or how big something is: there is no limit. */
#define DMAHEAP_UNLIMITED UINT64_MAX

/* As a timeout: for ever. */
#define DMAHEAP_INFINITY UINT64_MAX

/* How long a call waits for its answer unless told otherwise: longer than the daemon's own AllocationTimeoutSec=. */
#define DMAHEAP_TIMEOUT_DEFAULT UINT64_C(45000000)

/* A connection to the daemon, or the intention to make one. */
typedef struct DmaHeapConnection DmaHeapConnection;

/* What the daemon answered to one call, with the file descriptors that came along. */
typedef struct DmaHeapReply DmaHeapReply;

/* Why a call failed. */
typedef struct DmaHeapError DmaHeapError;

/* ---- Errors -------------------------------------------------------------------------------------------------- */

typedef enum DmaHeapReason {
        DMAHEAP_OTHER,             /* an error that this version of the library does not know; see the name */
        DMAHEAP_NO_SUCH_HEAP,      /* heap or role say what was asked for */
        DMAHEAP_HEAP_UNAVAILABLE,  /* heap and detail say which and why: its module is missing, forbidden, … */
        DMAHEAP_QUOTA_EXCEEDED,    /* dmaheap_error_quota() says which limit */
        DMAHEAP_OUT_OF_MEMORY,     /* heap says which one had no memory left */
        DMAHEAP_OUT_OF_RESOURCES,  /* detail is one of processes, fileDescriptors, inFlight, cgroup, connections,
                                    * ledger */
        DMAHEAP_TIMED_OUT,         /* heap says which one took too long */
        DMAHEAP_INVALID_PARAMETER, /* detail is the parameter's name */
        DMAHEAP_PERMISSION_DENIED, /* the method or the heap is not for this caller */
        DMAHEAP_NOT_SUPPORTED,     /* the daemon does not know the method */
        DMAHEAP_UNREACHABLE,       /* could not connect; detail says why */
        DMAHEAP_DISCONNECTED,      /* the connection ended before the answer came */
        DMAHEAP_NO_ANSWER,         /* the answer did not come in time */
        DMAHEAP_PROTOCOL           /* the answer could not be understood */
} DmaHeapReason;

/* Whose limit it was that would have been passed. */
typedef enum DmaHeapScope {
        DMAHEAP_SCOPE_UNKNOWN, /* one that this version of the library does not know */
        DMAHEAP_SCOPE_CLIENT,  /* the limit of this client, which is its systemd unit and uid */
        DMAHEAP_SCOPE_USER,    /* of all clients of this user */
        DMAHEAP_SCOPE_HEAP,    /* of this client in one heap, or what is left of that heap */
        DMAHEAP_SCOPE_CGROUP,  /* memory.max or memory.high of the client's cgroup or of one around it */
        DMAHEAP_SCOPE_SYSTEM   /* of everybody together */
} DmaHeapScope;

/* What there would have been too much of. */
typedef enum DmaHeapResource {
        DMAHEAP_RESOURCE_UNKNOWN,
        DMAHEAP_RESOURCE_BYTES,
        DMAHEAP_RESOURCE_BUFFERS
} DmaHeapResource;

/* Which limit refused an allocation. */
typedef struct DmaHeapQuota {
        DmaHeapScope scope;
        DmaHeapResource resource; /* the unit of the three numbers */
        const char *name;         /* of the client, user, heap or cgroup whose limit it is, or NULL */
        uint64_t limit;
        uint64_t used;            /* by then, of the limit */
        uint64_t requested;       /* by this call, all its buffers together */
} DmaHeapQuota;

/* What kind of failure it was. NULL gives DMAHEAP_OTHER. */
DmaHeapReason dmaheap_error_reason(const DmaHeapError *error);

/* The negative errno that the call returned. NULL gives 0. */
int dmaheap_error_errno(const DmaHeapError *error);

/* The full varlink name of the error that the daemon sent, as "io.dmaheapd.Allocator.QuotaExceeded"; NULL if the failure
 * happened on this side. */
const char *dmaheap_error_name(const DmaHeapError *error);

/* One line for a person to read, without a newline at its end; never NULL, whatever it is given. */
const char *dmaheap_error_message(const DmaHeapError *error);

/* The heap the error is about, or NULL. */
const char *dmaheap_error_heap(const DmaHeapError *error);

/* The role the error is about, or NULL. */
const char *dmaheap_error_role(const DmaHeapError *error);

/* More about the reason, or NULL; what it is depends on the reason and is said there. */
const char *dmaheap_error_detail(const DmaHeapError *error);

/* The limit that would have been passed; NULL unless the reason is DMAHEAP_QUOTA_EXCEEDED. Belongs to the error. */
const DmaHeapQuota *dmaheap_error_quota(const DmaHeapError *error);

/* Frees it and all that was got from it. Accepts NULL. Returns NULL. */
DmaHeapError *dmaheap_error_free(DmaHeapError *error);

/* ---- Connections --------------------------------------------------------------------------------------------- */

/* Makes a connection object without connecting: the first call does that, and after a disconnect the next one does it
 * again.
 *
 * address: the path of the daemon's socket. If NULL, the environment variable DMAHEAP_ADDRESS (not in set-user-ID
 * programs), else the macro of that name.
 *
 * Returns 0; -EINVAL if the address is empty, -ENAMETOOLONG if it does not fit a socket address, -ENOMEM. The caller
 * owns *ret and frees it with dmaheap_connection_free(). */
int dmaheap_connection_new(const char *address, DmaHeapConnection **ret);

/* Closes the connection and frees it. Calls still in flight are forgotten, their handlers are not called. Must not be
 * called from a handler, or while another thread uses the connection. Buffers, replies and errors got from it live on.
 * Accepts NULL. Returns NULL. */
DmaHeapConnection *dmaheap_connection_free(DmaHeapConnection *c);

/* How long each later call may take, from the moment it is made, in microseconds. Blocking calls and handlers both
 * fail with -ETIMEDOUT after that. DMAHEAP_TIMEOUT_DEFAULT unless set; DMAHEAP_INFINITY for no limit.
 *
 * Returns 0; -EINVAL for 0. */
int dmaheap_connection_set_timeout(DmaHeapConnection *c, uint64_t timeout_usec);

/* Connects now, if there is no connection. There is no need to call this; it tells early whether there is a daemon.
 * As the daemon is started by its socket, success means that somebody listens, not that the daemon can start.
 *
 * Returns 0; -ECONNREFUSED, -EACCES, -ETIMEDOUT. */
int dmaheap_connection_connect(DmaHeapConnection *c, DmaHeapError **ret_error);

/* ---- Allocating ---------------------------------------------------------------------------------------------- */

/* DmaHeapRequest.flags: the file descriptors can be mapped for reading only. */
#define DMAHEAP_READ_ONLY (UINT64_C(1) << 0)

/* What to allocate. Set everything unused to zero, as designated initialisers or memset() do. */
typedef struct DmaHeapRequest {
        const char *heap;     /* the heap's name as in /dev/dma_heap: 1 to 64 of A-Z a-z 0-9 . _ , @ + - */
        const char *role;     /* or what the heap is for: "system", "contiguous", "protected". Not both. If neither is
                               * given, the role is "system" */
        const char *label;    /* becomes the buffers' name in the kernel's lists: 1 to 31 bytes of printable ASCII;
                               * NULL for none */
        uint64_t size;        /* of each buffer, 1 to 2^47; the daemon rounds up to whole pages */
        uint64_t flags;       /* DMAHEAP_READ_ONLY, or 0 */
        unsigned count;       /* how many buffers, at most DMAHEAP_BUFFERS_MAX; 0 means 1 */
        unsigned reserved_1;  /* these must be zero */
        uint64_t reserved_2[6];
} DmaHeapRequest;

/* One buffer of a reply. */
typedef struct DmaHeapBuffer {
        uint64_t id;   /* the dma-buf's inode number: unique until reboot, and what `dmaheapctl buffers` shows */
        uint64_t size; /* in bytes, whole pages */
} DmaHeapBuffer;

/* Allocates buffers, all of them or none.
 *
 * request: what to allocate; only read during the call.
 * ret_reply: the reply, for dmaheap_reply_heap(), _n_buffers(), _buffer(), _fd() and _take_fd(); the caller frees it with
 * dmaheap_reply_free(), which closes the file descriptors that were not taken.
 *
 * The memory is the caller's from now on: it counts against its limits, and against those of its cgroup, until the last
 * file descriptor, mapping and device reference to it is gone, in whatever process.
 *
 * Returns 0; the errors at the top of this file. */
int dmaheap_allocate(DmaHeapConnection *c, const DmaHeapRequest *request, DmaHeapReply **ret_reply,
                     DmaHeapError **ret_error);

/* Allocates one buffer for a role, "system" if NULL, and returns its file descriptor (0 or more), which the caller
 * closes. Otherwise as dmaheap_allocate(). */
int dmaheap_allocate_fd(DmaHeapConnection *c, const char *role, uint64_t size, DmaHeapError **ret_error);

/* Brackets access by the CPU to a mapped dma-buf, so that CPU and devices see the same bytes; see DMA_BUF_IOCTL_SYNC in the
 * kernel's documentation. Begin waits for devices that are still at work on the buffer.
 *
 * fd: the dma-buf. access: PROT_READ, PROT_WRITE or both, the same in begin and end.
 *
 * Returns 0; -EINVAL for any other access, -ENOTTY if fd is no dma-buf, -EBADF. */
int dmaheap_begin_cpu_access(int fd, int access);
int dmaheap_end_cpu_access(int fd, int access);

/* ---- Asking -------------------------------------------------------------------------------------------------- */

/* The structures below are only ever handed out by the library, and may grow at their end. */

typedef enum DmaHeapState {
        DMAHEAP_STATE_UNKNOWN,  /* one that this version of the library does not know */
        DMAHEAP_STATE_READY,    /* there is a node under /dev/dma_heap */
        DMAHEAP_STATE_LOADABLE, /* a module would provide it, and the first allocation loads it */
        DMAHEAP_STATE_FAILED    /* it was tried and did not work */
} DmaHeapState;

typedef enum DmaHeapAccounting {
        DMAHEAP_ACCOUNTING_UNKNOWN,
        DMAHEAP_ACCOUNTING_KERNEL, /* the kernel charges a buffer's pages to the client's cgroup */
        DMAHEAP_ACCOUNTING_DAEMON  /* only the daemon counts them */
} DmaHeapAccounting;

/* A heap that exists, or could be made to. */
typedef struct DmaHeapInfo {
        const char *name;
        DmaHeapState state;
        DmaHeapAccounting accounting;
        const char *reason;       /* why it failed, or NULL */
        const char *const *roles; /* what it is good for; ends with NULL, never NULL itself */
        const char *module;       /* the kernel module that provides it, or NULL if it is built in or unknown */
        const char *region;       /* the CMA region it draws from, or NULL. Heaps of one region share its budget */
        uint64_t size;            /* of a bounded heap, else DMAHEAP_UNLIMITED */
        uint64_t used;            /* bytes of buffers handed out here and still alive */
} DmaHeapInfo;

/* How much somebody holds, and may hold. */
typedef struct DmaHeapUsage {
        uint64_t bytes_used;
        uint64_t bytes_max; /* or DMAHEAP_UNLIMITED */
        uint64_t buffers_used;
        uint64_t buffers_max; /* or DMAHEAP_UNLIMITED */
} DmaHeapUsage;

/* How much of one heap a client holds, and may hold. */
typedef struct DmaHeapHeapUsage {
        const char *heap;
        uint64_t bytes_used;
        uint64_t bytes_max; /* or DMAHEAP_UNLIMITED */
} DmaHeapHeapUsage;

/* The caller's own usage. */
typedef struct DmaHeapUsageReport {
        const DmaHeapUsage *client;            /* this client: this systemd unit (or cgroup) and uid */
        const DmaHeapUsage *user;              /* all clients of this user */
        const DmaHeapHeapUsage *const *heaps;  /* this client in each heap */
        size_t n_heaps;
        uint64_t cgroup_headroom;              /* what its cgroup can still take, or DMAHEAP_UNLIMITED */
} DmaHeapUsageReport;

/* A client of the daemon: the pair of a systemd unit, or a cgroup where there is none, and a uid. */
typedef struct DmaHeapClient {
        const char *unit;                      /* or NULL */
        const char *cgroup;                    /* its path below /sys/fs/cgroup */
        uid_t uid;
        uid_t user;                            /* whose user limit holds for it */
        uint64_t connections;                  /* open ones */
        const DmaHeapUsage *usage;
        const DmaHeapHeapUsage *const *heaps;
        size_t n_heaps;
} DmaHeapClient;

/* A buffer that was handed out and that the kernel still has. */
typedef struct DmaHeapLiveBuffer {
        uint64_t id;             /* the dma-buf's inode number */
        uint64_t size;
        const char *heap;
        const char *label;       /* or NULL */
        const char *unit;        /* to whom it was handed out; or NULL */
        const char *cgroup;
        uid_t uid;
        uid_t user;
        uint64_t allocated_usec; /* CLOCK_BOOTTIME */
} DmaHeapLiveBuffer;

/* What the daemon says of itself (GetInfo of org.varlink.service). */
typedef struct DmaHeapDaemonInfo {
        const char *product; /* its name, and in brackets how it counts the kernel's buffers: for people */
        const char *version;
} DmaHeapDaemonInfo;

/* Asks for the heaps: dmaheap_reply_heaps(). Returns 0; the errors at the top of this file. */
int dmaheap_list_heaps(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error);

/* Asks what the caller holds and may hold: dmaheap_reply_usage(). The daemon counts anew for this. Returns 0; the errors at
 * the top of this file. */
int dmaheap_get_usage(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error);

/* Asks for all clients: dmaheap_reply_clients(). For root only. Returns 0; the errors at the top of this file. */
int dmaheap_list_clients(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error);

/* Asks for all live buffers, or those of one unit (NULL for all) or uid ((uid_t) -1 for all): dmaheap_reply_live_buffers().
 * For root only. Returns 0; the errors at the top of this file. */
int dmaheap_list_buffers(DmaHeapConnection *c, const char *unit, uid_t uid, DmaHeapReply **ret_reply,
                         DmaHeapError **ret_error);

/* Asks which daemon this is, and how it counts buffers: dmaheap_reply_daemon_info(). Returns 0; the errors at the top of this
 * file. */
int dmaheap_get_daemon_info(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error);

/* ---- Replies ------------------------------------------------------------------------------------------------- */

/* What these return belongs to the reply. Each answers for one method only and gives NULL, or 0, for the others. */

/* Allocate: the heap that was chosen. */
const char *dmaheap_reply_heap(const DmaHeapReply *reply);

/* Allocate: how many buffers there are, as many as were asked for. */
size_t dmaheap_reply_n_buffers(const DmaHeapReply *reply);

/* Allocate: buffer number i, counted from 0; NULL if there are not so many. */
const DmaHeapBuffer *dmaheap_reply_buffer(const DmaHeapReply *reply, size_t i);

/* Allocate: the file descriptor of buffer i, which stays the reply's; -ENXIO if there are not so many, -EBADF if it was
 * taken. */
int dmaheap_reply_fd(const DmaHeapReply *reply, size_t i);

/* Allocate: the same, but it is the caller's now, to be closed with close(). */
int dmaheap_reply_take_fd(DmaHeapReply *reply, size_t i);

/* ListHeaps: the heaps, *ret_n of them. */
const DmaHeapInfo *const *dmaheap_reply_heaps(const DmaHeapReply *reply, size_t *ret_n);

/* GetUsage: the caller's usage. */
const DmaHeapUsageReport *dmaheap_reply_usage(const DmaHeapReply *reply);

/* ListClients: the clients, *ret_n of them. */
const DmaHeapClient *const *dmaheap_reply_clients(const DmaHeapReply *reply, size_t *ret_n);

/* ListBuffers: the buffers, *ret_n of them. */
const DmaHeapLiveBuffer *const *dmaheap_reply_live_buffers(const DmaHeapReply *reply, size_t *ret_n);

/* GetInfo: the daemon's name and version. */
const DmaHeapDaemonInfo *dmaheap_reply_daemon_info(const DmaHeapReply *reply);

/* All methods: the parameters of the reply as JSON, as the daemon sent them. pretty: 1 for several lines, 0 for one; both
 * end with a newline. The caller frees *ret with free().
 *
 * Returns 0; -ENOMEM. */
int dmaheap_reply_json(const DmaHeapReply *reply, int pretty, char **ret);

/* Frees it and all that was got from it, and closes the file descriptors that were not taken. Accepts NULL. Returns NULL. */
DmaHeapReply *dmaheap_reply_free(DmaHeapReply *reply);

/* ---- In a program's own event loop --------------------------------------------------------------------------- */

/* Called from dmaheap_connection_process(), once for each call that was begun, and for a subscription each time there is
 * something new.
 *
 * r: 0, or what the blocking call would have returned.
 * reply: if r is 0, the handler's own now, to be freed with dmaheap_reply_free(); else NULL.
 * error: if r is negative and more is known, the handler's own, to be freed with dmaheap_error_free(); else NULL.
 * userdata: what was given with the call.
 *
 * A handler may begin other calls and make blocking ones; it must not free the connection. */
typedef void (*DmaHeapHandler)(DmaHeapConnection *c, int r, DmaHeapReply *reply, DmaHeapError *error, void *userdata);

/* Begin a call and return at once; the handler gets the answer. The calls of one connection are made one after the other,
 * in the order they were begun. While any is in flight, a blocking call returns -EBUSY.
 *
 * Return 0; -ECONNREFUSED or -EACCES if there is no daemon to reach, -EAGAIN if the daemon's queue of connections is full,
 * -EINVAL, -ENOMEM. If they fail, the handler is not called. */
int dmaheap_allocate_async(DmaHeapConnection *c, const DmaHeapRequest *request, DmaHeapHandler handler, void *userdata);
int dmaheap_list_heaps_async(DmaHeapConnection *c, DmaHeapHandler handler, void *userdata);
int dmaheap_get_usage_async(DmaHeapConnection *c, DmaHeapHandler handler, void *userdata);

/* Subscribes to the heaps: the handler gets the whole list now, and again whenever something in it changed. It uses a
 * socket of its own, so that other calls go on beside it. When the daemon goes away or refuses, the handler is called
 * with the error, once, and the subscription is over; subscribe again to go on.
 *
 * Returns 0; -EBUSY if there is a subscription, and as the calls above. */
int dmaheap_subscribe_heaps(DmaHeapConnection *c, DmaHeapHandler handler, void *userdata);

/* Ends the subscription, if there is one; the handler is not called any more. Returns 0. */
int dmaheap_unsubscribe_heaps(DmaHeapConnection *c);

/* A file descriptor to watch for POLLIN: there is something to process. It stays the same for the life of the connection,
 * across reconnects, and belongs to it: do not read it, do not close it. */
int dmaheap_connection_get_fd(DmaHeapConnection *c);

/* When dmaheap_connection_process() must be called although the file descriptor is silent: *ret is a time on
 * CLOCK_MONOTONIC in microseconds, DMAHEAP_INFINITY if no call is in flight. Ask again after each call begun and each
 * processing. Returns 0. */
int dmaheap_connection_get_timeout(DmaHeapConnection *c, uint64_t *ret);

/* Does what there is to do without waiting, and calls handlers. Returns how many handlers were called. */
int dmaheap_connection_process(DmaHeapConnection *c);

/* Waits until there is something to process, or a call's time is up, for timeout_usec at most: the rest of an event loop,
 * for programs that have none. Returns 1, or 0 if nothing happened in that time; -EINTR when a signal arrived. */
int dmaheap_connection_wait(DmaHeapConnection *c, uint64_t timeout_usec);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
