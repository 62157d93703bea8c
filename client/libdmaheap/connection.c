/* SPDX-License-Identifier: MIT */
/* The connection object, and blocking calls. */

#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#include "internal.h"

#define USEC_PER_SEC UINT64_C(1000000)

uint64_t now_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * USEC_PER_SEC + (uint64_t) ts.tv_nsec / 1000;
}

uint64_t usec_add(uint64_t a, uint64_t b) {
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum) ? DMAHEAP_INFINITY : sum;
}

/* A flag and a condition rather than a mutex that is held all along: it takes a deadline on the monotonic clock, and race
 * detectors understand it (of pthread_mutex_clocklock() not all do). */
int connection_lock(DmaHeapConnection *c, uint64_t *ret_deadline) {
        uint64_t deadline;
        struct timespec ts;
        int r = 0;

        if (c->pid != getpid())
                return -ECHILD;

        deadline = usec_add(now_usec(), __atomic_load_n(&c->timeout_usec, __ATOMIC_RELAXED));
        ts.tv_sec = (time_t) (deadline / USEC_PER_SEC);
        ts.tv_nsec = (long) (deadline % USEC_PER_SEC * 1000);

        (void) pthread_mutex_lock(&c->mutex);
        while (c->busy && r != ETIMEDOUT)
                r = deadline == DMAHEAP_INFINITY ? pthread_cond_wait(&c->idle, &c->mutex) :
                                                   pthread_cond_timedwait(&c->idle, &c->mutex, &ts);
        if (!c->busy) {
                c->busy = true;
                r = 0;
        }
        (void) pthread_mutex_unlock(&c->mutex);

        *ret_deadline = deadline;
        return -r;
}

void connection_unlock(DmaHeapConnection *c) {
        (void) pthread_mutex_lock(&c->mutex);
        c->busy = false;
        (void) pthread_cond_signal(&c->idle);
        (void) pthread_mutex_unlock(&c->mutex);
}

static int lock_init(DmaHeapConnection *c) {
        pthread_condattr_t attr;
        int r;

        r = pthread_condattr_init(&attr);
        if (r != 0)
                return -r;
        (void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        r = pthread_cond_init(&c->idle, &attr);
        (void) pthread_condattr_destroy(&attr);
        if (r != 0)
                return -r;

        r = pthread_mutex_init(&c->mutex, NULL);
        if (r != 0)
                (void) pthread_cond_destroy(&c->idle);
        return -r;
}

static void lock_done(DmaHeapConnection *c) {
        /* In a child of fork() somebody else's thread may have been waiting, and destroying would wait for it. */
        if (c->pid != getpid())
                return;

        (void) pthread_mutex_destroy(&c->mutex);
        (void) pthread_cond_destroy(&c->idle);
}

int dmaheap_connection_new(const char *address, DmaHeapConnection **ret) {
        DmaHeapConnection *c;
        int r;

        if (!ret)
                return -EINVAL;
        if (!address)
                address = secure_getenv("DMAHEAP_ADDRESS") ?: DMAHEAP_ADDRESS;
        if (!*address)
                return -EINVAL;
        if (strlen(address) >= sizeof(((struct sockaddr_un *) NULL)->sun_path))
                return -ENAMETOOLONG;

        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        *c = (DmaHeapConnection) {
                .pid = getpid(),
                .address = strdup(address),
                .timeout_usec = DMAHEAP_TIMEOUT_DEFAULT,
                .epoll_fd = -EBADF,
        };
        r = c->address ? lock_init(c) : -ENOMEM;
        if (r < 0) {
                free(c->address);
                free(c);
                return r;
        }

        *ret = c;
        return 0;
}

DmaHeapConnection *dmaheap_connection_free(DmaHeapConnection *c) {
        if (!c)
                return NULL;

        connection_forget_calls(c);
        (void) connection_drop_link(c->link);
        (void) connection_drop_link(c->subscription_link);
        (void) fd_close(c->epoll_fd);
        lock_done(c);
        free(c->address);
        free(c);
        return NULL;
}

int dmaheap_connection_set_timeout(DmaHeapConnection *c, uint64_t timeout_usec) {
        if (timeout_usec == 0)
                return -EINVAL;

        __atomic_store_n(&c->timeout_usec, timeout_usec, __ATOMIC_RELAXED);
        return 0;
}

/* ---- The socket ---------------------------------------------------------------------------------------------- */

static int connect_failed(int error, const char *address, DmaHeapError **ret_error) {
        switch (error) {
        case ENOMEM:
        case ENOBUFS:
                return -ENOMEM;
        case EMFILE:
        case ENFILE:
                return -EMFILE;
        case EACCES:
        case EPERM:
                return error_set(ret_error, DMAHEAP_UNREACHABLE, -EACCES,
                                 "cannot connect to %s: permission denied (it takes membership in its group, see ls -l)",
                                 address);
        default:
                errno = error;
                return error_set(ret_error, DMAHEAP_UNREACHABLE, -ECONNREFUSED, "cannot connect to %s: %m", address);
        }
}

/* sd_varlink_connect_address() would not do: it connects without blocking, and takes the EAGAIN of a full queue for a
 * connection under way, which it is not with AF_UNIX. */
static int socket_connect(const char *address, bool wait, uint64_t deadline, int *ret_fd, DmaHeapError **ret_error) {
        CLEANUP_FD int fd = -EBADF;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };

        /* The length was checked when the connection was made. */
        memcpy(sa.sun_path, address, strlen(address) + 1);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
        if (fd < 0)
                return connect_failed(errno, address, ret_error);

        for (;;) {
                if (wait && deadline != DMAHEAP_INFINITY) {
                        uint64_t now = now_usec(), left = deadline > now ? deadline - now : 1;
                        struct timeval tv = {
                                .tv_sec = (time_t) (left / USEC_PER_SEC),
                                .tv_usec = (suseconds_t) (left % USEC_PER_SEC),
                        };

                        if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
                                return connect_failed(errno, address, ret_error);
                }
                if (connect(fd, (struct sockaddr *) &sa, sizeof(sa)) >= 0)
                        break;
                if (errno == EAGAIN)
                        return wait ? error_from_link(-ETIMEDOUT, "connecting", ret_error) : -EAGAIN;
                if (errno != EINTR)
                        return connect_failed(errno, address, ret_error);
        }

        *ret_fd = TAKE_FD(fd);
        return 0;
}

/* Whether the peer of an idle link is still there: a daemon that was restarted meanwhile is no reason to fail a call. */
bool link_is_alive(sd_varlink *link) {
        char byte;
        ssize_t n;

        n = recv(sd_varlink_get_fd(link), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return n < 0 && (errno == EAGAIN || errno == EINTR);
}

sd_varlink *connection_drop_link(sd_varlink *link) {
        if (!link)
                return NULL;

        (void) sd_varlink_set_userdata(link, NULL);
        return sd_varlink_close_unref(link);
}

int connection_ensure_link(DmaHeapConnection *c, sd_varlink **link, bool wait, uint64_t deadline, DmaHeapError **ret_error) {
        __attribute__((__cleanup__(sd_varlink_unrefp))) sd_varlink *l = NULL;
        CLEANUP_FD int fd = -EBADF;
        int r;

        if (*link && link_is_alive(*link))
                return 0;
        *link = connection_drop_link(*link);

        r = socket_connect(c->address, wait, deadline, &fd, ret_error);
        if (r < 0)
                return r;

        r = sd_varlink_connect_fd(&l, fd);
        if (r < 0)
                return r;
        (void) TAKE_FD(fd);

        (void) sd_varlink_set_description(l, "libdmaheap");
        (void) sd_varlink_set_userdata(l, c);
        r = sd_varlink_set_allow_fd_passing_input(l, true);
        if (r < 0)
                return r;

        *link = TAKE_PTR(l);
        return 0;
}

static int link_take_fds(sd_varlink *link, int **ret, size_t *ret_n) {
        int *fds;
        size_t n = 0;

        fds = calloc(DMAHEAP_BUFFERS_MAX, sizeof(int));
        if (!fds)
                return -ENOMEM;
        for (; n < DMAHEAP_BUFFERS_MAX; n++) {
                int fd = sd_varlink_take_fd(link, n);

                if (fd < 0)
                        break;
                fds[n] = fd;
        }

        *ret = fds;
        *ret_n = n;
        return 0;
}

static void fds_free(int *fds, size_t n) {
        for (size_t i = 0; i < n; i++)
                (void) fd_close(fds[i]);
        free(fds);
}

int link_take_reply(sd_varlink *link, Method method, sd_json_variant *parameters, const char *error_name,
                    DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        int *fds = NULL;
        size_t n_fds = 0;
        int r;

        r = link_take_fds(link, &fds, &n_fds);
        if (r < 0)
                return r;

        if (error_name)
                r = error_from_varlink(error_name, parameters, ret_error);
        else {
                r = reply_parse(method, parameters, fds, n_fds, ret_reply);
                if (r == -EPROTO)
                        r = error_from_link(r, method_name(method), ret_error);
        }
        fds_free(fds, n_fds);
        return r;
}

/* ---- Blocking calls ------------------------------------------------------------------------------------------ */

static int call_locked(DmaHeapConnection *c, Method method, sd_json_variant *parameters, uint64_t deadline,
                       DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        sd_json_variant *reply = NULL;
        const char *error_name = NULL;
        uint64_t now;
        int r;

        if (c->calls)
                return -EBUSY;

        r = connection_ensure_link(c, &c->link, true, deadline, ret_error);
        if (r < 0)
                return r;

        now = now_usec();
        r = sd_varlink_set_relative_timeout(c->link, deadline == DMAHEAP_INFINITY ? DMAHEAP_INFINITY :
                                                     deadline > now ? deadline - now : 1);
        if (r >= 0)
                r = sd_varlink_call(c->link, method_name(method), parameters, &reply, &error_name);
        if (r < 0)
                r = error_from_link(r, method_name(method), ret_error);
        else
                r = link_take_reply(c->link, method, reply, error_name, ret_reply, ret_error);

        if (r == -ECONNRESET || r == -ETIMEDOUT || r == -EPROTO || r == -EMFILE || r == -ENOMEM)
                c->link = connection_drop_link(c->link);
        return r;
}

static int connection_call(DmaHeapConnection *c, Method method, sd_json_variant *parameters, DmaHeapReply **ret_reply,
                           DmaHeapError **ret_error) {
        uint64_t deadline;
        int r;

        if (!ret_reply)
                return -EINVAL;

        r = connection_lock(c, &deadline);
        if (r == -ETIMEDOUT)
                return error_from_link(r, method_name(method), ret_error);
        if (r < 0)
                return r;

        r = call_locked(c, method, parameters, deadline, ret_reply, ret_error);
        connection_unlock(c);
        return r;
}

int dmaheap_connection_connect(DmaHeapConnection *c, DmaHeapError **ret_error) {
        uint64_t deadline;
        int r;

        r = connection_lock(c, &deadline);
        if (r == -ETIMEDOUT)
                return error_from_link(r, "connecting", ret_error);
        if (r < 0)
                return r;

        /* With a call in flight there is a connection, and it must not be peeked at. */
        if (!c->calls)
                r = connection_ensure_link(c, &c->link, true, deadline, ret_error);
        connection_unlock(c);
        return r;
}

int request_build(const DmaHeapRequest *request, sd_json_variant **ret, DmaHeapError **ret_error) {
        int r;

        if (!request)
                return -EINVAL;
        if ((request->flags & ~DMAHEAP_READ_ONLY) != 0 || request->reserved_1 != 0)
                return error_set(ret_error, DMAHEAP_INVALID_PARAMETER, -EINVAL, "unknown flags in the request");
        for (size_t i = 0; i < ELEMENTS_OF(request->reserved_2); i++)
                if (request->reserved_2[i] != 0)
                        return error_set(ret_error, DMAHEAP_INVALID_PARAMETER, -EINVAL,
                                         "unused fields of the request are not zero");

        r = sd_json_buildo(ret,
                           SD_JSON_BUILD_PAIR_CONDITION(!!request->heap, "heap", SD_JSON_BUILD_STRING(request->heap)),
                           SD_JSON_BUILD_PAIR_CONDITION(!!request->role, "role", SD_JSON_BUILD_STRING(request->role)),
                           SD_JSON_BUILD_PAIR_UNSIGNED("size", request->size),
                           SD_JSON_BUILD_PAIR_CONDITION(request->count != 0, "count",
                                                        SD_JSON_BUILD_UNSIGNED(request->count)),
                           SD_JSON_BUILD_PAIR_CONDITION((request->flags & DMAHEAP_READ_ONLY) != 0, "access",
                                                        SD_JSON_BUILD_STRING("readOnly")),
                           SD_JSON_BUILD_PAIR_CONDITION(!!request->label, "label", SD_JSON_BUILD_STRING(request->label)));
        if (r < 0 && r != -ENOMEM)
                return error_set(ret_error, DMAHEAP_INVALID_PARAMETER, -EINVAL, "heap, role or label is not valid UTF-8");
        return r;
}

int dmaheap_allocate(DmaHeapConnection *c, const DmaHeapRequest *request, DmaHeapReply **ret_reply,
                     DmaHeapError **ret_error) {
        __attribute__((__cleanup__(sd_json_variant_unrefp))) sd_json_variant *parameters = NULL;
        int r;

        r = request_build(request, &parameters, ret_error);
        if (r < 0)
                return r;

        return connection_call(c, METHOD_ALLOCATE, parameters, ret_reply, ret_error);
}

int dmaheap_allocate_fd(DmaHeapConnection *c, const char *role, uint64_t size, DmaHeapError **ret_error) {
        DmaHeapReply *reply = NULL;
        int r, fd;

        r = dmaheap_allocate(c, &(DmaHeapRequest) { .role = role, .size = size }, &reply, ret_error);
        if (r < 0)
                return r;

        fd = dmaheap_reply_take_fd(reply, 0);
        (void) dmaheap_reply_free(reply);
        return fd >= 0 ? fd : error_from_link(-EPROTO, method_name(METHOD_ALLOCATE), ret_error);
}

int dmaheap_list_heaps(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        return connection_call(c, METHOD_LIST_HEAPS, NULL, ret_reply, ret_error);
}

int dmaheap_get_usage(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        return connection_call(c, METHOD_GET_USAGE, NULL, ret_reply, ret_error);
}

int dmaheap_list_clients(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        return connection_call(c, METHOD_LIST_CLIENTS, NULL, ret_reply, ret_error);
}

int dmaheap_get_daemon_info(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error) {
        return connection_call(c, METHOD_GET_INFO, NULL, ret_reply, ret_error);
}

int dmaheap_list_buffers(DmaHeapConnection *c, const char *unit, uid_t uid, DmaHeapReply **ret_reply,
                         DmaHeapError **ret_error) {
        __attribute__((__cleanup__(sd_json_variant_unrefp))) sd_json_variant *parameters = NULL;
        int r;

        r = sd_json_buildo(&parameters,
                           SD_JSON_BUILD_PAIR_CONDITION(!!unit, "unit", SD_JSON_BUILD_STRING(unit)),
                           SD_JSON_BUILD_PAIR_CONDITION(uid != (uid_t) -1, "uid", SD_JSON_BUILD_UNSIGNED(uid)));
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return error_set(ret_error, DMAHEAP_INVALID_PARAMETER, -EINVAL, "the unit is not valid UTF-8");

        return connection_call(c, METHOD_LIST_BUFFERS, parameters, ret_reply, ret_error);
}
