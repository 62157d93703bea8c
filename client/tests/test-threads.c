/* SPDX-License-Identifier: MIT */
/* Many threads with a connection each, and with one for all: test-threads FAKE-DAEMON. Also built with
 * ThreadSanitizer. */

#include <pthread.h>

#include "fake.h"

#define N_THREADS 64
#define N_CALLS 10
#define HANG_USEC 1000000

static unsigned failures;

static void failed(const char *what, int r) {
        (void) fprintf(stderr, "%s: %s\n", what, strerror(-r));
        (void) __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
}

static void call(DmaHeapConnection *c, unsigned i) {
        DmaHeapReply *reply = NULL;
        DmaHeapError *error = NULL;
        int r;

        if (i % 3 == 0) {
                r = dmaheap_allocate(c, &(DmaHeapRequest) { .heap = "error-QuotaExceeded", .size = 1 }, &reply, &error);
                if (r != -EDQUOT || dmaheap_error_quota(error)->limit != 1 << 30)
                        failed("quota", r);
        } else if (i % 3 == 1) {
                r = dmaheap_list_heaps(c, &reply, &error);
                if (r < 0)
                        failed("list", r);
        } else {
                r = dmaheap_allocate(c,
                                &(DmaHeapRequest) { .role = "system", .size = 4096, .count = 1 + i % 5 },
                                &reply,
                                &error);
                if (r < 0 || dmaheap_reply_n_buffers(reply) != 1 + i % 5)
                        failed("allocate", r);
        }
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_error_free(error);
}

static void *thread_main(void *shared) {
        DmaHeapConnection *c = shared;
        int r;

        if (!shared) {
                r = dmaheap_connection_new(fake_address(), &c);
                if (r < 0) {
                        failed("new", r);
                        return NULL;
                }
        }
        for (unsigned i = 0; i < N_CALLS; i++)
                call(c, i);
        if (!shared)
                (void) dmaheap_connection_free(c);
        return NULL;
}

/* Without an answer, all threads time out at once and not one after the other: waiting for the lock counts towards the
 * timeout. */
static void *hang_main(void *shared) {
        DmaHeapReply *reply = NULL;
        uint64_t before = now();
        int r;

        r = dmaheap_allocate(shared, &(DmaHeapRequest) { .heap = "hang", .size = 1 }, &reply, NULL);
        if (r != -ETIMEDOUT || now() - before < HANG_USEC || now() - before > 5 * HANG_USEC)
                failed("hang", r);
        return NULL;
}

static void run_threads(void *(*function)(void *), DmaHeapConnection *shared) {
        pthread_t threads[N_THREADS];
        size_t n = 0;

        for (; n < N_THREADS; n++)
                if (pthread_create(threads + n, NULL, function, shared) != 0) {
                        failed("thread", -errno);
                        break;
                }
        for (size_t i = 0; i < n; i++)
                (void) pthread_join(threads[i], NULL);
}

int main(int argc, char *argv[]) {
        DmaHeapConnection *shared;

        CHECK(argc == 2);
        fake_setup(argv[1]);

        run_threads(thread_main, NULL);
        shared = fake_connection();
        run_threads(thread_main, shared);
        CHECK(dmaheap_connection_set_timeout(shared, HANG_USEC) == 0);
        run_threads(hang_main, shared);
        (void) dmaheap_connection_free(shared);

        fake_done();
        return failures > 0;
}
