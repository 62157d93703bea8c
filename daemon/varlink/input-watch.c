/* SPDX-License-Identifier: GPL-2.0-only */

/* Polls a duplicate of the connection's fd, edge-triggered and with a higher priority than sd-varlink's own source. So
 * each arrival is seen, by peeking, before sd-varlink reads it. Only the last byte matters, since NUL ends a message.
 *
 * Invariant: a connection is idle without limit only after a whole message. There is one exception: sd-varlink reads
 * once more directly after it has replied, and bytes that arrive just then are not seen here. A peer that sends a part
 * of a message at that moment, and nothing more, counts as idle; it uses up one of its user's connections. */

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "util/fd-util.h"
#include "util/time-util.h"
#include "varlink/input-watch.h"

struct InputWatch {
        int fd;
        bool partial; /* the last byte seen did not end a message */
        bool had_message;
        uint64_t message_begun; /* before the first message: when the peer connected */
        uint64_t last_input;
        input_arrived_t on_arrived;
        input_stalled_t on_stalled;
        void *userdata;
        sd_event_source *io_source;
        sd_event_source *timer_source;
};

InputWatch *input_watch_free(InputWatch *watch) {
        if (!watch)
                return NULL;

        sd_event_source_disable_unref(watch->io_source);
        sd_event_source_disable_unref(watch->timer_source);
        safe_close(watch->fd);
        free(watch);
        return NULL;
}

/* Finds the last of the bytes that wait in the socket, and whether any of the last few ends a message. Returns 1; or 0
 * if no byte waits or the peer has gone. */
static int peek_last_byte(int fd, size_t available, char *ret_last, bool *ret_any_end) {
        char buffer[4096];

        /* All parts of the iovec are the one buffer, so the bytes that were written last stay in it. */
        struct iovec iov[64];
        size_t n_iov = 0, left = available;

        while (left > 0 && n_iov < ELEMENTSOF(iov)) {
                iov[n_iov] = (struct iovec) { .iov_base = buffer, .iov_len = MIN(left, sizeof(buffer)) };
                left -= iov[n_iov++].iov_len;
        }

        struct msghdr message = { .msg_iov = iov, .msg_iovlen = n_iov };
        ssize_t n = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
        if (n <= 0)
                return 0;

        if ((size_t) n < available && n_iov == ELEMENTSOF(iov)) {
                *ret_last = 0; /* there are more bytes than the iovec holds: the peer is not silent */
                *ret_any_end = true;
                return 1;
        }

        size_t tail = ((size_t) n - 1) % sizeof(buffer);
        *ret_last = buffer[tail];
        *ret_any_end = memchr(buffer, 0, tail + 1) != NULL;
        return 1;
}

static void watch_set_timer(InputWatch *watch) {
        uint64_t due;

        if (watch->partial)
                due = MIN(watch->last_input + INPUT_PART_USEC, watch->message_begun + INPUT_FIRST_MESSAGE_USEC);
        else if (!watch->had_message)
                due = watch->message_begun + INPUT_FIRST_MESSAGE_USEC;
        else {
                (void) sd_event_source_set_enabled(watch->timer_source, SD_EVENT_OFF);
                return;
        }

        (void) sd_event_source_set_time(watch->timer_source, due);
        (void) sd_event_source_set_enabled(watch->timer_source, SD_EVENT_ONESHOT);
}

static int on_input(sd_event_source *source _unused_, int fd, uint32_t revents _unused_, void *userdata) {
        InputWatch *watch = userdata;
        bool any_end = false;
        int available;
        char last;

        if (ioctl(fd, FIONREAD, &available) < 0 || available < 0)
                available = 0;

        /* If nothing is there, sd-varlink was faster. It may have read the end of a message, so that is assumed. */
        if (peek_last_byte(fd, available, &last, &any_end) == 0) {
                last = 0;
                any_end = true;
        }

        watch->last_input = now_usec();
        if ((!watch->partial && watch->had_message) || any_end)
                watch->message_begun = watch->last_input;
        watch->partial = last != 0;
        watch->had_message = watch->had_message || any_end;
        watch_set_timer(watch);
        watch->on_arrived(available, watch->userdata); /* may free the watch */
        return 0;
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        InputWatch *watch = userdata;

        watch->on_stalled(watch->userdata); /* may free the watch */
        return 0;
}

int input_watch_new(sd_event *event, int fd, input_arrived_t on_arrived, input_stalled_t on_stalled, void *userdata,
                InputWatch **ret) {
        int r;

        _cleanup_(input_watch_freep) InputWatch *watch = malloc(sizeof(InputWatch));
        if (!watch)
                return -ENOMEM;

        *watch = (InputWatch) {
                .fd = fcntl(fd, F_DUPFD_CLOEXEC, 3),
                .message_begun = now_usec(),
                .on_arrived = on_arrived,
                .on_stalled = on_stalled,
                .userdata = userdata,
        };
        if (watch->fd < 0)
                return -errno;

        r = sd_event_add_io(event, &watch->io_source, watch->fd, EPOLLIN | EPOLLET, on_input, watch);
        if (r < 0)
                return r;

        r = sd_event_source_set_priority(watch->io_source, SD_EVENT_PRIORITY_NORMAL - 10);
        if (r < 0)
                return r;

        r = sd_event_add_time(event, &watch->timer_source, CLOCK_BOOTTIME, UINT64_MAX, 0, on_timer, watch);
        if (r < 0)
                return r;

        watch_set_timer(watch);
        *ret = TAKE_PTR(watch);
        return 0;
}
