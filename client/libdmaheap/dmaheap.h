/* SPDX-License-Identifier: MIT */
/*
 * libdmaheap allocates dma-bufs from dmaheapd, the allocator service.
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
 * Every function follows these conventions, unless its comment says otherwise:
 *
 * - It returns 0 or a positive number on success, and a negative errno on failure. On failure the ret_ parameters are
 *   untouched.
 * - ret_error may be NULL. If it is not, a failing call stores a new DmaHeapError there, which the caller frees with
 *   dmaheap_error_free(). A few failures have no DmaHeapError (see the table) and leave it untouched: initialise it
 *   with NULL.
 * - Sizes are in bytes, times in microseconds. Strings are UTF-8 and belong to the object they came from.
 * - Pointers to a connection must not be NULL. Functions on errors and replies accept NULL.
 * - Every file descriptor is close-on-exec.
 *
 * A call to the daemon fails with one of these errors:
 *
 *     -ENOENT        no such heap or role                         DMAHEAP_NO_SUCH_HEAP
 *     -ENODEV        the heap exists but cannot be used           DMAHEAP_HEAP_UNAVAILABLE
 *     -EDQUOT        the allocation would exceed a limit          DMAHEAP_QUOTA_EXCEEDED
 *     -ENOMEM        the heap has no memory left                  DMAHEAP_OUT_OF_MEMORY
 *                    (without a DmaHeapError: this process has none left)
 *     -EAGAIN        the daemon ran out of another resource       DMAHEAP_OUT_OF_RESOURCES
 *     -ETIME         the daemon gave up on the allocation         DMAHEAP_TIMED_OUT
 *     -EINVAL        a parameter is not valid                     DMAHEAP_INVALID_PARAMETER
 *     -EPERM         this caller may not use the method or heap   DMAHEAP_PERMISSION_DENIED
 *     -EOPNOTSUPP    the daemon does not know this method         DMAHEAP_NOT_SUPPORTED
 *     -ECONNREFUSED  nothing listens on the daemon's socket       DMAHEAP_UNREACHABLE
 *     -EACCES        this user may not open the daemon's socket   DMAHEAP_UNREACHABLE
 *     -ECONNRESET    the connection ended before the answer       DMAHEAP_DISCONNECTED
 *     -ETIMEDOUT     no answer within the connection's timeout    DMAHEAP_NO_ANSWER
 *     -EPROTO        the answer is not what the interface says    DMAHEAP_PROTOCOL
 *     -EREMOTEIO     an error that this library does not know     DMAHEAP_OTHER
 *     -EMFILE        this process has no room for the fds         (no DmaHeapError)
 *     -ECHILD        the connection was made before a fork()      (no DmaHeapError)
 *     -EBUSY         a blocking call while others are in flight   (no DmaHeapError)
 *
 * After -ECONNRESET, -ETIMEDOUT and -EPROTO the daemon may or may not have done what was asked. Buffers of such a call
 * are not lost: the kernel frees them, since nobody holds their fds. The next call makes a new connection.
 *
 * Threads: any number of threads may use a connection at the same time. Their calls are made one after the other, and
 * the time that a call waits for another one counts towards its timeout. Threads that are to allocate in parallel need
 * a connection each. A reply, an error or a request may be used by one thread at a time.
 *
 * Processes: the child of a fork() may only free a connection that the parent made. There, the other functions return
 * -ECHILD for it, except dmaheap_connection_set_timeout().
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

/* The path of the daemon's socket. */
#define DMAHEAP_ADDRESS "/run/dmaheapd/io.dmaheapd.Allocator"

/* The largest number of buffers in one request. */
#define DMAHEAP_BUFFERS_MAX 253

/* The value of a limit or size that does not exist. */
#define DMAHEAP_UNLIMITED UINT64_MAX

/* The value of a timeout that never ends. */
#define DMAHEAP_INFINITY UINT64_MAX

/* The timeout of a new connection, in microseconds. It is longer than the daemon's AllocationTimeoutSec= of 30 seconds,
 * so that the daemon's own error arrives first. */
#define DMAHEAP_TIMEOUT_DEFAULT UINT64_C(45000000)

/* A connection to the daemon. The object exists before and after the socket is connected. */
typedef struct DmaHeapConnection DmaHeapConnection;

/* The daemon's answer to one call, with the file descriptors that came with it. */
typedef struct DmaHeapReply DmaHeapReply;

/* Why a call failed. */
typedef struct DmaHeapError DmaHeapError;

/* ---- Errors -------------------------------------------------------------------------------------------------- */

/* The kind of failure, and which functions tell more about it. */
typedef enum DmaHeapReason {
        DMAHEAP_OTHER,             /* an error that this version of the library does not know: dmaheap_error_name() */
        DMAHEAP_NO_SUCH_HEAP,      /* heap or role: the name that was asked for */
        DMAHEAP_HEAP_UNAVAILABLE,  /* heap: its name; detail: why, for example that its module is missing */
        DMAHEAP_QUOTA_EXCEEDED,    /* dmaheap_error_quota(): the limit */
        DMAHEAP_OUT_OF_MEMORY,     /* heap: the one without memory */
        DMAHEAP_OUT_OF_RESOURCES,  /* detail: one of processes, fileDescriptors, inFlight, cgroup, connections,
                                    * ledger */
        DMAHEAP_TIMED_OUT,         /* heap: the one that took too long */
        DMAHEAP_INVALID_PARAMETER, /* detail: the parameter's name, or the text of a check in this library */
        DMAHEAP_PERMISSION_DENIED, /* this caller may not use the method or the heap */
        DMAHEAP_NOT_SUPPORTED,     /* detail: the method or interface that the daemon does not know */
        DMAHEAP_UNREACHABLE,       /* detail: why the socket could not be connected */
        DMAHEAP_DISCONNECTED,      /* the connection ended before the answer came */
        DMAHEAP_NO_ANSWER,         /* the answer did not come in time */
        DMAHEAP_PROTOCOL           /* the answer could not be understood */
} DmaHeapReason;

/* Whose limit an allocation would exceed. */
typedef enum DmaHeapScope {
        DMAHEAP_SCOPE_UNKNOWN, /* one that this version of the library does not know */
        DMAHEAP_SCOPE_CLIENT,  /* this client's: its systemd unit (or cgroup) and uid */
        DMAHEAP_SCOPE_USER,    /* that of all clients of this user together */
        DMAHEAP_SCOPE_HEAP,    /* this client's in one heap, or the size of that heap */
        DMAHEAP_SCOPE_CGROUP,  /* MemoryMax= or MemoryHigh= of the client's cgroup, or of one that contains it */
        DMAHEAP_SCOPE_SYSTEM   /* that of all clients together */
} DmaHeapScope;

/* The unit of a limit. */
typedef enum DmaHeapResource {
        DMAHEAP_RESOURCE_UNKNOWN, /* one that this version of the library does not know */
        DMAHEAP_RESOURCE_BYTES,
        DMAHEAP_RESOURCE_BUFFERS
} DmaHeapResource;

/* The limit that refused an allocation. */
typedef struct DmaHeapQuota {
        DmaHeapScope scope;
        DmaHeapResource resource; /* the unit of the three numbers */
        const char *name;         /* of the client, user, heap or cgroup whose limit it is, or NULL */
        uint64_t limit;
        uint64_t used;      /* how much of the limit was used at that time */
        uint64_t requested; /* by this call, for all its buffers together */
} DmaHeapQuota;

/* Returns the kind of failure. NULL gives DMAHEAP_OTHER. */
DmaHeapReason dmaheap_error_reason(const DmaHeapError *error);

/* Returns the negative errno that the call returned. NULL gives 0. */
int dmaheap_error_errno(const DmaHeapError *error);

/* Returns the full varlink name of an error that the daemon sent, for example "io.dmaheapd.Allocator.QuotaExceeded";
 * NULL for a failure in this process. It belongs to the error. */
const char *dmaheap_error_name(const DmaHeapError *error);

/* Returns one line of text for people, without a newline. Never NULL: without an error, it is "unknown error". It
 * belongs to the error. */
const char *dmaheap_error_message(const DmaHeapError *error);

/* Returns the name of the heap that the error is about, or NULL. It belongs to the error. */
const char *dmaheap_error_heap(const DmaHeapError *error);

/* Returns the role that the error is about, or NULL. It belongs to the error. */
const char *dmaheap_error_role(const DmaHeapError *error);

/* Returns what DmaHeapReason says of the reason's detail, or NULL. It belongs to the error. */
const char *dmaheap_error_detail(const DmaHeapError *error);

/* Returns the limit that refused the allocation; NULL unless the reason is DMAHEAP_QUOTA_EXCEEDED. It belongs to the
 * error. */
const DmaHeapQuota *dmaheap_error_quota(const DmaHeapError *error);

/* Frees an error and everything that belongs to it. Accepts NULL. Returns NULL. */
DmaHeapError *dmaheap_error_free(DmaHeapError *error);

/* ---- Connections --------------------------------------------------------------------------------------------- */

/* Makes a connection object. It does not connect: the first call does, and so does the first call after a disconnect.
 *
 * address: the path of the daemon's socket. If it is NULL, the environment variable DMAHEAP_ADDRESS is used (not in
 * set-user-ID programs), else the macro of that name.
 *
 * Returns 0; -EINVAL if the address is empty or ret is NULL; -ENAMETOOLONG if it does not fit a socket address;
 * -ENOMEM. The caller frees *ret with dmaheap_connection_free(). */
int dmaheap_connection_new(const char *address, DmaHeapConnection **ret);

/* Closes a connection and frees it. Calls in flight are dropped, and their handlers are not called. Buffers, replies
 * and errors that came from it stay valid. Must not be called from a handler, or while another thread uses the
 * connection. Accepts NULL. Returns NULL. */
DmaHeapConnection *dmaheap_connection_free(DmaHeapConnection *c);

/* Sets how long each later call may take, from the moment it is made.
 *
 * timeout_usec: 1 or more microseconds, or DMAHEAP_INFINITY for no limit. It is DMAHEAP_TIMEOUT_DEFAULT at first. A
 * call that takes longer fails with -ETIMEDOUT, a blocking one in its return value and others in their handler.
 *
 * Returns 0; -EINVAL for 0. */
int dmaheap_connection_set_timeout(DmaHeapConnection *c, uint64_t timeout_usec);

/* Connects now, if there is no connection. Calls connect by themselves; this function tells early whether they can.
 * systemd listens on the daemon's socket, so success does not mean that the daemon itself runs or can start.
 *
 * Returns 0; -ECONNREFUSED, -EACCES, -ETIMEDOUT, -EMFILE, -ENOMEM, -ECHILD. */
int dmaheap_connection_connect(DmaHeapConnection *c, DmaHeapError **ret_error);

/* ---- Allocating ---------------------------------------------------------------------------------------------- */

/* DmaHeapRequest.flags: the file descriptors can be mapped for reading only. */
#define DMAHEAP_READ_ONLY (UINT64_C(1) << 0)

/* Describes the buffers to allocate. Fields that are not used must be zero, as designated initialisers or memset() make
 * them. */
typedef struct DmaHeapRequest {
        const char *heap;    /* the heap's name as in /dev/dma_heap: 1 to 64 of A-Z a-z 0-9 . _ , @ + - */
        const char *role;    /* or its purpose: "system", "contiguous", "protected", or one that the administrator
                              * has configured. At most one of heap and role; with neither, the role is "system" */
        const char *label;   /* the buffers' name in the kernel's lists: 1 to 31 bytes of printable ASCII; NULL for
                              * none */
        uint64_t size;       /* of each buffer in bytes, 1 to 2^47; the daemon rounds it up to whole pages */
        uint64_t flags;      /* DMAHEAP_READ_ONLY, or 0 */
        unsigned count;      /* the number of buffers, 1 to DMAHEAP_BUFFERS_MAX; 0 means 1 */
        unsigned reserved_1; /* must be zero, as must reserved_2 */
        uint64_t reserved_2[6];
} DmaHeapRequest;

/* One buffer of a reply. */
typedef struct DmaHeapBuffer {
        uint64_t id;   /* the dma-buf's inode number, unique until reboot; `dmaheapctl buffers` shows it, too */
        uint64_t size; /* in bytes, a multiple of the page size */
} DmaHeapBuffer;

/* Allocates all buffers of a request, or none.
 *
 * request: what to allocate; it is not used after the call.
 * ret_reply: the buffers, for dmaheap_reply_heap(), _n_buffers(), _buffer(), _fd() and _take_fd(). The caller frees it
 * with dmaheap_reply_free(), which closes the file descriptors that were not taken.
 *
 * The memory is charged to the caller: to its limits in the daemon, and to its cgroup. The charge ends when the last
 * file descriptor, mapping and device reference of the buffer is gone, in whatever process it is.
 *
 * Returns 0; the errors at the top of this file. */
int dmaheap_allocate(DmaHeapConnection *c, const DmaHeapRequest *request, DmaHeapReply **ret_reply,
                DmaHeapError **ret_error);

/* Allocates one buffer, as dmaheap_allocate() does.
 *
 * role: as in DmaHeapRequest; NULL for "system". size: in bytes, 1 to 2^47.
 *
 * Returns the file descriptor, 0 or more, which the caller closes; or the errors at the top of this file. */
int dmaheap_allocate_fd(DmaHeapConnection *c, const char *role, uint64_t size, DmaHeapError **ret_error);

/* Begin and end access by the CPU to a mapped dma-buf, so that the CPU and devices see the same bytes
 * (DMA_BUF_IOCTL_SYNC in the kernel's documentation). Begin waits until devices have finished with the buffer.
 *
 * fd: the dma-buf. access: PROT_READ, PROT_WRITE or both, the same in begin and end.
 *
 * Returns 0; -EINVAL for any other access; -ENOTTY if fd is not a dma-buf; -EBADF; another errno of the ioctl. */
int dmaheap_begin_cpu_access(int fd, int access);
int dmaheap_end_cpu_access(int fd, int access);

/* ---- Asking -------------------------------------------------------------------------------------------------- */

/* The library alone makes the structures below. Later versions may add fields at their end. */

/* Whether a heap can be used. */
typedef enum DmaHeapState {
        DMAHEAP_STATE_UNKNOWN,  /* one that this version of the library does not know */
        DMAHEAP_STATE_READY,    /* it has a node in /dev/dma_heap */
        DMAHEAP_STATE_LOADABLE, /* a kernel module provides it, which the first allocation loads */
        DMAHEAP_STATE_FAILED    /* its module could not be loaded, or made no such heap */
} DmaHeapState;

/* The part of the system that charges a heap's buffers to the client's cgroup. */
typedef enum DmaHeapAccounting {
        DMAHEAP_ACCOUNTING_UNKNOWN, /* one that this version of the library does not know */
        DMAHEAP_ACCOUNTING_KERNEL,  /* the kernel */
        DMAHEAP_ACCOUNTING_DAEMON   /* only the daemon, which counts them against the cgroup's limits */
} DmaHeapAccounting;

/* A heap that exists, or that a kernel module would provide. */
typedef struct DmaHeapInfo {
        const char *name;
        DmaHeapState state;
        DmaHeapAccounting accounting;
        const char *reason;       /* why it failed, or NULL */
        const char *const *roles; /* the roles it serves; ends with NULL, and is never NULL itself */
        const char *module;       /* the kernel module that provides it; NULL if it is built in or unknown */
        const char *region;       /* the CMA region it allocates from, or NULL. Heaps of a region share its memory */
        uint64_t size;            /* of its region; DMAHEAP_UNLIMITED if it is not bounded */
        uint64_t used;            /* bytes of the buffers that the daemon handed out and that still exist */
} DmaHeapInfo;

/* How much a client or user holds, and may hold. */
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
        const DmaHeapUsage *client;           /* of this client: its systemd unit (or cgroup) and uid */
        const DmaHeapUsage *user;             /* of all clients of this user together */
        const DmaHeapHeapUsage *const *heaps; /* of this client in each heap, n_heaps of them */
        size_t n_heaps;
        uint64_t cgroup_headroom; /* bytes that its cgroup can still take, or DMAHEAP_UNLIMITED */
} DmaHeapUsageReport;

/* A client of the daemon: a systemd unit, or a cgroup where there is no unit, together with a uid. */
typedef struct DmaHeapClient {
        const char *unit;   /* or NULL */
        const char *cgroup; /* its path below /sys/fs/cgroup */
        uid_t uid;
        uid_t user;           /* the user whose limit applies to it */
        uint64_t connections; /* open ones */
        const DmaHeapUsage *usage;
        const DmaHeapHeapUsage *const *heaps; /* the heaps it uses, n_heaps of them */
        size_t n_heaps;
} DmaHeapClient;

/* A buffer that the daemon handed out and that still exists in the kernel. */
typedef struct DmaHeapLiveBuffer {
        uint64_t id;   /* the dma-buf's inode number */
        uint64_t size; /* in bytes */
        const char *heap;
        const char *label; /* or NULL */
        const char *unit;  /* of the client that got it, or NULL; so are the next three */
        const char *cgroup;
        uid_t uid;
        uid_t user;              /* the user whose limit applies to it */
        uint64_t allocated_usec; /* when, on CLOCK_BOOTTIME */
} DmaHeapLiveBuffer;

/* The daemon's description of itself (GetInfo of org.varlink.service). */
typedef struct DmaHeapDaemonInfo {
        const char *product; /* for people: its name, and in brackets how it counts the kernel's buffers */
        const char *version;
} DmaHeapDaemonInfo;

/* Each function below makes one call and stores its reply in *ret_reply, which the caller frees with
 * dmaheap_reply_free(). It returns 0; the errors at the top of this file; -EINVAL if ret_reply is NULL. */

/* Asks for the heaps: dmaheap_reply_heaps(). */
int dmaheap_list_heaps(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error);

/* Asks how much the caller holds and may hold: dmaheap_reply_usage(). The daemon counts the kernel's buffers for each
 * such call. */
int dmaheap_get_usage(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error);

/* Asks for all clients: dmaheap_reply_clients(). Only root may; others get -EPERM. */
int dmaheap_list_clients(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error);

/* Asks for the live buffers: dmaheap_reply_live_buffers(). Only root may; others get -EPERM.
 *
 * unit: only those of this systemd unit; NULL for all. uid: only those of this uid; (uid_t) -1 for all. */
int dmaheap_list_buffers(
                DmaHeapConnection *c, const char *unit, uid_t uid, DmaHeapReply **ret_reply, DmaHeapError **ret_error);

/* Asks for the daemon's name and version, and how it counts buffers: dmaheap_reply_daemon_info(). */
int dmaheap_get_daemon_info(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error);

/* ---- Replies ------------------------------------------------------------------------------------------------- */

/* Each function below reads the reply of one method. For the reply of another method, and for NULL, it returns NULL, 0
 * or -ENXIO, and sets *ret_n to 0. Its result belongs to the reply, unless its comment says otherwise. */

/* Allocate: returns the name of the heap that the buffers are from. */
const char *dmaheap_reply_heap(const DmaHeapReply *reply);

/* Allocate: returns the number of buffers, which is the number that was asked for. */
size_t dmaheap_reply_n_buffers(const DmaHeapReply *reply);

/* Allocate: returns buffer i, counted from 0; NULL if there is no such buffer. */
const DmaHeapBuffer *dmaheap_reply_buffer(const DmaHeapReply *reply, size_t i);

/* Allocate: returns the file descriptor of buffer i, which belongs to the reply; -ENXIO if there is no such buffer;
 * -EBADF if it was taken. */
int dmaheap_reply_fd(const DmaHeapReply *reply, size_t i);

/* Allocate: takes the file descriptor of buffer i out of the reply and returns it; the caller closes it. Otherwise as
 * dmaheap_reply_fd(). */
int dmaheap_reply_take_fd(DmaHeapReply *reply, size_t i);

/* ListHeaps: returns an array of *ret_n heaps. */
const DmaHeapInfo *const *dmaheap_reply_heaps(const DmaHeapReply *reply, size_t *ret_n);

/* GetUsage: returns the caller's usage. */
const DmaHeapUsageReport *dmaheap_reply_usage(const DmaHeapReply *reply);

/* ListClients: returns an array of *ret_n clients. */
const DmaHeapClient *const *dmaheap_reply_clients(const DmaHeapReply *reply, size_t *ret_n);

/* ListBuffers: returns an array of *ret_n buffers. */
const DmaHeapLiveBuffer *const *dmaheap_reply_live_buffers(const DmaHeapReply *reply, size_t *ret_n);

/* GetInfo: returns the daemon's description of itself. */
const DmaHeapDaemonInfo *dmaheap_reply_daemon_info(const DmaHeapReply *reply);

/* All methods: stores the parameters of the reply as JSON, with the fields that the daemon sent in their order.
 *
 * pretty: 0 for one line, anything else for several. Both end with a newline. The caller frees *ret with free().
 *
 * Returns 0; -EINVAL if reply is NULL; -ENOMEM. */
int dmaheap_reply_json(const DmaHeapReply *reply, int pretty, char **ret);

/* Frees a reply and everything that belongs to it, and closes the file descriptors that were not taken. Accepts NULL.
 * Returns NULL. */
DmaHeapReply *dmaheap_reply_free(DmaHeapReply *reply);

/* ---- In a program's own event loop --------------------------------------------------------------------------- */

/* A handler gets the answer to a call that was begun: once for each call, and for a subscription once for each list of
 * heaps. dmaheap_connection_process() calls it.
 *
 * r: what the blocking call would have returned.
 * reply: if r is 0, the reply, which the handler frees with dmaheap_reply_free(); else NULL.
 * error: if r is negative, the error or NULL; the handler frees it with dmaheap_error_free().
 * userdata: the pointer that was given with the call.
 *
 * A handler may begin calls, and make blocking ones while no other call is in flight. It must not free the
 * connection. */
typedef void (*DmaHeapHandler)(DmaHeapConnection *c, int r, DmaHeapReply *reply, DmaHeapError *error, void *userdata);

/* Begin a call and return at once; the handler gets the answer. Calls of a connection are made one after the other, in
 * the order in which they were begun. While one is in flight, blocking calls return -EBUSY.
 *
 * request: not used after the function returns. userdata: for the handler; it may be NULL.
 *
 * Return 0; -ECONNREFUSED or -EACCES as blocking calls; -EAGAIN if the daemon's queue of connections is full; -EINVAL
 * if handler or request is NULL, or the request is not valid; -ENOMEM, -EMFILE, -ECHILD. On failure the handler is not
 * called. */
int dmaheap_allocate_async(DmaHeapConnection *c, const DmaHeapRequest *request, DmaHeapHandler handler, void *userdata);
int dmaheap_list_heaps_async(DmaHeapConnection *c, DmaHeapHandler handler, void *userdata);
int dmaheap_get_usage_async(DmaHeapConnection *c, DmaHeapHandler handler, void *userdata);

/* Subscribes to the heaps: the handler gets the whole list at once, and again after each change. The subscription has a
 * socket of its own, so blocking calls and calls that are begun go on beside it. It ends when the daemon refuses it or
 * goes away: the handler is called once more, with the error. After that the program may subscribe again.
 *
 * Returns 0; -EBUSY if the connection has a subscription; the errors of the functions above. On failure the handler is
 * not called. */
int dmaheap_subscribe_heaps(DmaHeapConnection *c, DmaHeapHandler handler, void *userdata);

/* Ends the subscription, if there is one. Its handler is not called again. Returns 0; -ETIMEDOUT, -ECHILD. */
int dmaheap_unsubscribe_heaps(DmaHeapConnection *c);

/* Returns the file descriptor to watch for POLLIN, 0 or more, or a negative errno. It belongs to the connection and
 * stays the same for the connection's life, across reconnects. The program must neither read nor close it. */
int dmaheap_connection_get_fd(DmaHeapConnection *c);

/* Stores the time when dmaheap_connection_process() must be called even if the file descriptor is not readable: in
 * microseconds of CLOCK_MONOTONIC, or DMAHEAP_INFINITY if no call is in flight. It may change with each call that is
 * begun and with each dmaheap_connection_process().
 *
 * Returns 0; -ETIMEDOUT, -ECHILD. */
int dmaheap_connection_get_timeout(DmaHeapConnection *c, uint64_t *ret);

/* Reads what has arrived, ends calls whose time is over, and calls the handlers. Does not wait for the daemon.
 *
 * Returns the number of handlers that were called; -ETIMEDOUT, -ECHILD. */
int dmaheap_connection_process(DmaHeapConnection *c);

/* Waits until dmaheap_connection_process() has something to do, but not longer than timeout_usec (DMAHEAP_INFINITY for
 * no limit). It replaces poll() in programs without an event loop of their own.
 *
 * Returns 1 if there is something to do; 0 if the time is over; -EINTR after a signal; another negative errno. */
int dmaheap_connection_wait(DmaHeapConnection *c, uint64_t timeout_usec);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
