/* SPDX-License-Identifier: MIT */
/*
 * One connected socket to the daemon.
 *
 * Invariant: every fd that arrives is owned by a reply or closed before link_take_reply() returns, also when the answer
 * is an error or cannot be parsed.
 */

#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include "clock.h"
#include "error.h"
#include "link.h"
#include "reply.h"

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
                return error_set(ret_error,
                                DMAHEAP_UNREACHABLE,
                                -EACCES,
                                "cannot connect to %s: permission denied "
                                "(it takes membership in its group, see ls -l)",
                                address);
        default:
                errno = error;
                return error_set(ret_error, DMAHEAP_UNREACHABLE, -ECONNREFUSED, "cannot connect to %s: %m", address);
        }
}

/* Bounds the next connect(), which waits while the socket's queue of connections is full. */
static int socket_set_deadline(int fd, uint64_t deadline) {
        uint64_t left = usec_left(deadline) ?: 1; /* 0 would mean to wait for ever */
        struct timeval tv = {
                .tv_sec = (time_t) (left / USEC_PER_SEC),
                .tv_usec = (suseconds_t) (left % USEC_PER_SEC),
        };

        return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0 ? -errno : 0;
}

/* Connects a socket. sd_varlink_connect_address() cannot be used: it connects without blocking, and takes the EAGAIN
 * that AF_UNIX gives for a full queue for a connection in progress. */
static int socket_connect(const char *address, bool wait, uint64_t deadline, int *ret_fd, DmaHeapError **ret_error) {
        CLEANUP_FD int fd = -EBADF;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int r;

        /* dmaheap_connection_new() has checked the length. */
        memcpy(sa.sun_path, address, strlen(address) + 1);

        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
        if (fd < 0)
                return connect_failed(errno, address, ret_error);

        for (;;) {
                if (wait && deadline != DMAHEAP_INFINITY) {
                        r = socket_set_deadline(fd, deadline);
                        if (r < 0)
                                return connect_failed(-r, address, ret_error);
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

int link_connect(const char *address, void *userdata, bool wait, uint64_t deadline, sd_varlink **ret,
                DmaHeapError **ret_error) {
        CLEANUP(sd_varlink_unrefp) sd_varlink *link = NULL;
        CLEANUP_FD int fd = -EBADF;
        int r;

        r = socket_connect(address, wait, deadline, &fd, ret_error);
        if (r < 0)
                return r;

        r = sd_varlink_connect_fd(&link, fd);
        if (r < 0)
                return r;
        (void) TAKE_FD(fd); /* the link owns it */

        (void) sd_varlink_set_description(link, "libdmaheap");
        (void) sd_varlink_set_userdata(link, userdata);
        r = sd_varlink_set_allow_fd_passing_input(link, true);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(link);
        return 0;
}

sd_varlink *link_drop(sd_varlink *link) {
        if (!link)
                return NULL;

        (void) sd_varlink_set_userdata(link, NULL);
        return sd_varlink_close_unref(link);
}

bool link_is_alive(sd_varlink *link) {
        char byte;
        ssize_t n;

        n = recv(sd_varlink_get_fd(link), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        return n < 0 && (errno == EAGAIN || errno == EINTR);
}

int link_set_deadline(sd_varlink *link, uint64_t deadline) {
        return sd_varlink_set_relative_timeout(link, usec_left(deadline) ?: 1);
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
