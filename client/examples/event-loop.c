/* SPDX-License-Identifier: MIT */
/*
 * Allocates from a program's own event loop, here poll(2): event-loop [ROLE]
 *
 * The program does not block while the daemon loads a module or allocates. It prints all heaps whenever one of them
 * changes, and the result of one allocation, after which it ends.
 */

#include <dmaheap.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>

static int done;

static void on_heaps(DmaHeapConnection *c, int r, DmaHeapReply *reply, DmaHeapError *error, void *userdata) {
        const DmaHeapInfo *const *heaps;
        size_t n;

        (void) c;
        (void) userdata;
        if (r < 0)
                (void) fprintf(stderr, "no more news: %s\n", dmaheap_error_message(error));

        heaps = dmaheap_reply_heaps(reply, &n);
        for (size_t i = 0; i < n; i++)
                (void) printf("heap %s: %" PRIu64 " bytes in use\n", heaps[i]->name, heaps[i]->used);

        (void) dmaheap_reply_free(reply);
        (void) dmaheap_error_free(error);
}

static void on_buffers(DmaHeapConnection *c, int r, DmaHeapReply *reply, DmaHeapError *error, void *userdata) {
        int *status = userdata;

        (void) c;
        if (r < 0)
                (void) fprintf(stderr, "no buffers: %s\n", dmaheap_error_message(error));
        else
                (void) printf("%zu buffers from heap %s\n", dmaheap_reply_n_buffers(reply), dmaheap_reply_heap(reply));
        *status = r < 0;
        done = 1;

        (void) dmaheap_reply_free(reply);
        (void) dmaheap_error_free(error);
}

/* Returns the time until a deadline for poll(2): in milliseconds, rounded up; -1 for no limit. */
static int poll_timeout(uint64_t deadline_usec) {
        struct timespec ts;
        uint64_t now;

        if (deadline_usec == DMAHEAP_INFINITY)
                return -1;
        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        now = (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
        return deadline_usec <= now ? 0 : (int) ((deadline_usec - now + 999) / 1000);
}

int main(int argc, char *argv[]) {
        DmaHeapRequest request = { .role = argc > 1 ? argv[1] : "system", .size = 1 << 20, .count = 4 };
        DmaHeapConnection *c = NULL;
        int status = 1;

        if (dmaheap_connection_new(NULL, &c) < 0)
                return 1;
        if (dmaheap_subscribe_heaps(c, on_heaps, NULL) < 0 ||
                        dmaheap_allocate_async(c, &request, on_buffers, &status) < 0) {
                (void) fprintf(stderr, "no daemon to reach\n");
                done = 1;
        }

        while (!done) {
                struct pollfd p = { .fd = dmaheap_connection_get_fd(c), .events = POLLIN };
                uint64_t deadline = DMAHEAP_INFINITY;

                (void) dmaheap_connection_get_timeout(c, &deadline);
                (void) poll(&p, 1, poll_timeout(deadline));
                (void) dmaheap_connection_process(c);
        }

        (void) dmaheap_connection_free(c);
        return status;
}
