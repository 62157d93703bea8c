/* SPDX-License-Identifier: MIT */
/*
 * What the files of libdmaheap know of each other. reply.c and error.c turn what came over the wire into memory that
 * refers to nothing of libsystemd: its reference counts are not atomic, and a JSON value of a reply shares its parent with
 * the link, which another thread may be using by then.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>

#include <systemd/sd-json.h>
#include <systemd/sd-varlink.h>

#include "dmaheap.h"
#include "shared/cleanup.h"

#define INTERFACE "io.dmaheapd.Allocator"

/* Memory that is freed all at once, with the reply or error that owns it. */
typedef struct Chunk Chunk;

typedef struct Arena {
        Chunk *chunks;
} Arena;

/* Zeroed memory that lives as long as the arena, or NULL. */
void *arena_alloc(Arena *a, size_t n, size_t size);

/* A copy of s, or NULL. */
char *arena_strdup(Arena *a, const char *s);

char *arena_printf(Arena *a, const char *format, ...) PRINTF_LIKE(2, 3);

void arena_done(Arena *a);

/* ---- error.c ---- */

struct DmaHeapError {
        Arena arena;
        DmaHeapReason reason;
        int error; /* negative errno */
        const char *name;
        const char *message;
        const char *heap;
        const char *role;
        const char *detail;
        DmaHeapQuota quota;
};

/* Turns a varlink error into a DmaHeapError (NULL if ret_error is NULL or memory is short) and returns its errno. */
int error_from_varlink(const char *name, sd_json_variant *parameters, DmaHeapError **ret_error);

/* The same for a failure on this side: stores an error with that reason and message, returns the errno. */
int error_set(DmaHeapError **ret_error, DmaHeapReason reason, int error, const char *format, ...) PRINTF_LIKE(4, 5);

/* What a failed sd_varlink call, or the local error it reported, means. Returns a negative errno. */
int error_from_link(int r, const char *what, DmaHeapError **ret_error);

/* ---- reply.c ---- */

typedef enum Method {
        METHOD_ALLOCATE,
        METHOD_LIST_HEAPS,
        METHOD_GET_USAGE,
        METHOD_LIST_CLIENTS,
        METHOD_LIST_BUFFERS,
        METHOD_GET_INFO,
        METHOD_MAX_
} Method;

struct DmaHeapReply {
        Arena arena;
        Method method;
        char *json; /* the parameters, on one line */

        const char *heap;
        const DmaHeapBuffer *buffers;
        int *fds;
        size_t n_buffers;

        const DmaHeapUsageReport *usage;
        const DmaHeapDaemonInfo *daemon_info;

        const void *const *entries; /* heaps, clients or live buffers */
        size_t n_entries;
};

/* "io.dmaheapd.Allocator.Allocate" and so on. */
const char *method_name(Method method);

/* Parses the parameters of a reply and takes over the fds that came with it: of the n_fds, those that belong to a buffer are
 * moved into the reply (and -EBADF left behind), the others stay. Returns -EPROTO if it is not what the interface says. */
int reply_parse(Method method, sd_json_variant *parameters, int *fds, size_t n_fds, DmaHeapReply **ret);

/* ---- parse.c ---- */

/* Each reads one field of an object. A field that may be missing or null leaves *ret as it is. */
typedef enum FieldFlags {
        FIELD_OPTIONAL = 1 << 0,
} FieldFlags;

int field_string(Arena *a, sd_json_variant *v, const char *name, FieldFlags flags, const char **ret);
int field_u64(sd_json_variant *v, const char *name, FieldFlags flags, uint64_t *ret);
int field_uid(sd_json_variant *v, const char *name, uid_t *ret);
int field_strv(Arena *a, sd_json_variant *v, const char *name, const char *const **ret);
/* Always succeeds: what the table does not know is 0, by convention the enumeration's word for unknown. */
int field_enum(sd_json_variant *v, const char *name, const char *const *table, size_t n_table);

/* The elements of a field that is an array of objects: calls parse for each, which returns the parsed thing or NULL with
 * *ret_error set to a negative errno. */
typedef void *(*ParseElement)(Arena *a, sd_json_variant *v, int *ret_error);
int field_array(Arena *a, sd_json_variant *v, const char *name, ParseElement parse, const void *const **ret, size_t *ret_n);

/* ---- connection.c ---- */

typedef struct Call Call;

struct DmaHeapConnection {
        pid_t pid; /* of the process that made it; never changes */
        char *address;

        uint64_t timeout_usec; /* atomic */

        pthread_mutex_t mutex; /* of the flag, held for moments only */
        pthread_cond_t idle;
        bool busy; /* the lock of all below: somebody is at it */

        sd_varlink *link; /* calls, one at a time */
        Call *calls;      /* begun and not answered; the first is in flight */
        Call *calls_tail;

        sd_varlink *subscription_link; /* the stream has a socket of its own: fds may go astray beside one */
        Call *subscription;            /* its handler, while subscribed */

        Call *done; /* answered, handler not yet called */
        Call *done_tail;

        int epoll_fd;
};

uint64_t now_usec(void);
uint64_t usec_add(uint64_t a, uint64_t b);

/* Makes sure that *link is a living connection to the daemon. May wait until the deadline, or not at all if wait is
 * false. Called with the lock held. */
int connection_ensure_link(DmaHeapConnection *c, sd_varlink **link, bool wait, uint64_t deadline, DmaHeapError **ret_error);

/* Forgets a link that is of no use any more. Returns NULL. */
sd_varlink *connection_drop_link(sd_varlink *link);

/* Takes the lock, waiting for it as long as a call may take; *ret_deadline is when a call made now has to be over. */
int connection_lock(DmaHeapConnection *c, uint64_t *ret_deadline);
void connection_unlock(DmaHeapConnection *c);

/* Whether the peer of a link on which no call is in flight is still there. */
bool link_is_alive(sd_varlink *link);

/* Turns the answer that the link is at into a reply or an error, with the fds that came along. Returns 0 or what the call
 * returns. */
int link_take_reply(sd_varlink *link, Method method, sd_json_variant *parameters, const char *error_name,
                    DmaHeapReply **ret_reply, DmaHeapError **ret_error);

/* The parameters of an Allocate call. */
int request_build(const DmaHeapRequest *request, sd_json_variant **ret, DmaHeapError **ret_error);

/* ---- call.c ---- */

/* Frees all calls without telling their handlers. */
void connection_forget_calls(DmaHeapConnection *c);
