/* SPDX-License-Identifier: MIT */
/* Calls and subscriptions in a program's own event loop: test-event FAKE-DAEMON */

#include <poll.h>
#include <stdbool.h>

#include "fake.h"
#include "shared/cleanup.h"

/* The answers that on_answer() got. */
typedef struct Seen {
        int order[16]; /* the first letter of the heap's name, '-' if there is none */
        int results[16];
        DmaHeapReason reasons[16];
        size_t n;
        uint64_t last_used;
        bool again; /* the next answer begins another call */
} Seen;

static void on_answer(DmaHeapConnection *c, int r, DmaHeapReply *reply, DmaHeapError *error, void *userdata);

/* Begins to allocate a buffer from a heap of the fake daemon. */
static void begin_allocate(DmaHeapConnection *c, const char *heap, Seen *seen) {
        CHECK(dmaheap_allocate_async(c, &(DmaHeapRequest) { .heap = heap, .size = 1 }, on_answer, seen) == 0);
}

static void on_answer(DmaHeapConnection *c, int r, DmaHeapReply *reply, DmaHeapError *error, void *userdata) {
        Seen *seen = userdata;
        const DmaHeapInfo *const *heaps;
        size_t n;

        CHECK(seen->n < ELEMENTS_OF(seen->order));
        CHECK(!!reply == (r >= 0));
        seen->order[seen->n] = dmaheap_reply_heap(reply) ? dmaheap_reply_heap(reply)[0] : '-';
        seen->results[seen->n] = r;
        seen->reasons[seen->n] = dmaheap_error_reason(error);
        seen->n++;
        heaps = dmaheap_reply_heaps(reply, &n);
        if (heaps)
                seen->last_used = heaps[0]->used;
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_error_free(error);

        if (seen->again) {
                seen->again = false;
                begin_allocate(c, "z", seen);
        }
}

static void loop_until(DmaHeapConnection *c, const Seen *seen, size_t n) {
        int fd = dmaheap_connection_get_fd(c);

        while (seen->n < n) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                uint64_t timeout = 0, t = now();
                int ms;

                CHECK(dmaheap_connection_get_timeout(c, &timeout) == 0);
                CHECK(dmaheap_connection_get_fd(c) == fd);
                ms = timeout == DMAHEAP_INFINITY ? 20000 : timeout <= t ? 0 : (int) ((timeout - t) / 1000 + 1);
                CHECK(poll(&p, 1, ms) > 0 || timeout != DMAHEAP_INFINITY);
                CHECK(dmaheap_connection_process(c) >= 0);
        }
}

static void test_async(void) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;
        DmaHeapRequest request = { .heap = "a", .size = 1, .count = 2 };
        uint64_t timeout = 0;
        Seen seen = { .again = true };

        CHECK(dmaheap_connection_process(c) == 0);
        CHECK(dmaheap_connection_get_timeout(c, &timeout) == 0 && timeout == DMAHEAP_INFINITY);
        CHECK(dmaheap_allocate_async(c, &request, on_answer, &seen) == 0);
        begin_allocate(c, "error-NoSuchHeap", &seen);
        begin_allocate(c, "vanish", &seen);
        begin_allocate(c, "b", &seen);
        CHECK(dmaheap_get_usage_async(c, on_answer, &seen) == 0);
        CHECK(dmaheap_list_heaps(c, &reply, NULL) == -EBUSY);
        loop_until(c, &seen, 6);

        CHECK(seen.order[0] == 'a' && seen.results[0] == 0);
        CHECK(seen.results[1] == -ENOENT && seen.reasons[1] == DMAHEAP_NO_SUCH_HEAP);
        CHECK(seen.results[2] == -ECONNRESET && seen.reasons[2] == DMAHEAP_DISCONNECTED);
        CHECK(seen.order[3] == 'b' && seen.results[4] == 0 && seen.order[5] == 'z');
        CHECK(dmaheap_connection_process(c) == 0 && dmaheap_connection_wait(c, 0) == 0);

        /* Blocking calls work again. Freeing the connection drops calls in flight. */
        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0);
        (void) dmaheap_reply_free(reply);
        begin_allocate(c, "hang", &seen);
        CHECK(dmaheap_list_heaps_async(c, on_answer, &seen) == 0);
        (void) dmaheap_connection_free(c);
        CHECK(seen.n == 6);
}

static void test_async_timeout(void) {
        DmaHeapConnection *c = fake_connection();
        Seen seen = {};

        CHECK(dmaheap_connection_set_timeout(c, 100000) == 0);
        begin_allocate(c, "hang", &seen);
        CHECK(dmaheap_connection_set_timeout(c, DMAHEAP_TIMEOUT_DEFAULT) == 0);
        begin_allocate(c, "b", &seen);
        loop_until(c, &seen, 2);
        CHECK(seen.results[0] == -ETIMEDOUT && seen.reasons[0] == DMAHEAP_NO_ANSWER);
        CHECK(seen.order[1] == 'b');
        (void) dmaheap_connection_free(c);
}

/* After the daemon has closed an idle connection, the fd of the event loop does not stay readable. */
static void test_async_idle_disconnect(void) {
        DmaHeapConnection *c = fake_connection();
        struct pollfd p = { .events = POLLIN };
        Seen seen = {};

        CHECK(dmaheap_list_heaps_async(c, on_answer, &seen) == 0);
        loop_until(c, &seen, 1);
        fake_kill();
        p.fd = dmaheap_connection_get_fd(c);
        CHECK(poll(&p, 1, 20000) == 1);
        CHECK(dmaheap_connection_process(c) == 0);
        CHECK(poll(&p, 1, 0) == 0);
        CHECK(dmaheap_list_heaps_async(c, on_answer, &seen) == -ECONNREFUSED);
        fake_start();
        CHECK(dmaheap_list_heaps_async(c, on_answer, &seen) == 0);
        loop_until(c, &seen, 2);
        (void) dmaheap_connection_free(c);
}

static void test_subscription(void) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;
        Seen seen = {};
        size_t n;

        CHECK(dmaheap_subscribe_heaps(c, on_answer, &seen) == 0);
        CHECK(dmaheap_subscribe_heaps(c, on_answer, &seen) == -EBUSY);
        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0); /* a blocking call beside the subscription */
        (void) dmaheap_reply_free(reply);
        while (seen.n < 4) {
                CHECK(dmaheap_connection_wait(c, 20000000) == 1);
                CHECK(dmaheap_connection_process(c) >= 0);
        }
        CHECK(seen.results[0] == 0 && seen.results[2] == 0 && seen.last_used > 0);
        CHECK(seen.results[3] == -ECONNRESET && seen.reasons[3] == DMAHEAP_DISCONNECTED);

        CHECK(dmaheap_subscribe_heaps(c, on_answer, &seen) == 0);
        while (seen.n < 5)
                CHECK(dmaheap_connection_wait(c, 20000000) == 1 && dmaheap_connection_process(c) >= 0);
        CHECK(dmaheap_unsubscribe_heaps(c) == 0);
        CHECK(dmaheap_unsubscribe_heaps(c) == 0);
        n = seen.n; /* more than 5 if several lists arrived at once */
        CHECK(dmaheap_connection_process(c) == 0 && seen.n == n);
        CHECK(dmaheap_subscribe_heaps(c, on_answer, &seen) == 0);
        (void) dmaheap_connection_free(c);
}

static void on_answer_unsubscribe(
                DmaHeapConnection *c, int r, DmaHeapReply *reply, DmaHeapError *error, void *userdata) {
        on_answer(c, r, reply, error, userdata);
        CHECK(dmaheap_unsubscribe_heaps(c) == 0);
}

/* A handler that ends the subscription is not called for the lists that arrived together with the first. */
static void test_unsubscribe_in_handler(void) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;
        Seen seen = {};

        CHECK(dmaheap_subscribe_heaps(c, on_answer_unsubscribe, &seen) == 0);
        CHECK(dmaheap_connection_process(c) >= 0); /* sends the call */
        /* The fake daemon sends all lists before it answers this one. */
        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .heap = "slow", .size = 1 }, &reply, NULL) == 0);
        (void) dmaheap_reply_free(reply);
        while (seen.n == 0)
                CHECK(dmaheap_connection_wait(c, 20000000) == 1 && dmaheap_connection_process(c) >= 0);
        CHECK(dmaheap_connection_process(c) == 0 && seen.n == 1 && seen.results[0] == 0);
        (void) dmaheap_connection_free(c);
}

int main(int argc, char *argv[]) {
        static void (*const tests[])(void) = {
                test_async,
                test_async_timeout,
                test_async_idle_disconnect,
                test_subscription,
                test_unsubscribe_in_handler,
                NULL,
        };

        return fake_run_tests(argc, argv, tests);
}
