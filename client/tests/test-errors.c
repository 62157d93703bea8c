/* SPDX-License-Identifier: MIT */
/* Each error reaches the caller with its errno, reason and texts, and the connection works afterwards: test-errors
 * FAKE-DAEMON */

#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fake.h"
#include "shared/cleanup.h"

/* Allocating from this heap of the fake daemon gives this error, with and without ret_error; the connection works
 * afterwards. */
static void test_error(
                const char *heap, int errno_expected, DmaHeapReason reason, const char *name, const char *detail) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;
        DmaHeapError *error = NULL;
        size_t n_fds;

        CHECK(dmaheap_connection_connect(c, NULL) == 0);
        n_fds = count_fds();
        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .heap = heap, .size = 1 }, &reply, NULL) == errno_expected);
        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .heap = heap, .size = 1 }, &reply, &error) == errno_expected);
        CHECK(!reply);
        CHECK(dmaheap_error_errno(error) == errno_expected);
        CHECK(dmaheap_error_reason(error) == reason);
        CHECK(streq_ptr(dmaheap_error_name(error), name));
        CHECK(*dmaheap_error_message(error));
        if (detail)
                CHECK(streq_ptr(dmaheap_error_detail(error), detail));
        CHECK(!!dmaheap_error_quota(error) == (reason == DMAHEAP_QUOTA_EXCEEDED));
        (void) dmaheap_error_free(error);
        CHECK(count_fds() <= n_fds);

        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0);
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_connection_free(c);
}

#define NAME(s) "io.dmaheapd.Allocator." s
#define SERVICE(s) "org.varlink.service." s

/* The heap error-NAME gives the error of that name, of the interface if it has no dot. */
static void test_sent(const char *heap, int errno_expected, DmaHeapReason reason, const char *detail) {
        const char *name = heap + strlen("error-");
        char full[128];

        CHECK(snprintf(full, sizeof(full), "%s%s", strchr(name, '.') ? "" : NAME(""), name) < (int) sizeof(full));
        test_error(heap, errno_expected, reason, full, detail);
}

static void test_errors(void) {
        test_sent("error-NoSuchHeap", -ENOENT, DMAHEAP_NO_SUCH_HEAP, NULL);
        test_sent("error-HeapUnavailable", -ENODEV, DMAHEAP_HEAP_UNAVAILABLE, "no module provides it");
        test_sent("error-QuotaExceeded", -EDQUOT, DMAHEAP_QUOTA_EXCEEDED, NULL);
        test_sent("error-OutOfMemory", -ENOMEM, DMAHEAP_OUT_OF_MEMORY, NULL);
        test_sent("error-OutOfResources", -EAGAIN, DMAHEAP_OUT_OF_RESOURCES, "processes");
        test_sent("error-TimedOut", -ETIME, DMAHEAP_TIMED_OUT, NULL);
        test_sent("error-" SERVICE("InvalidParameter"), -EINVAL, DMAHEAP_INVALID_PARAMETER, "size");
        test_sent("error-" SERVICE("PermissionDenied"), -EPERM, DMAHEAP_PERMISSION_DENIED, NULL);
        test_sent("error-" SERVICE("MethodNotFound"), -EOPNOTSUPP, DMAHEAP_NOT_SUPPORTED, NAME("Allocate"));
        test_sent("error-" SERVICE("MethodNotImplemented"), -EOPNOTSUPP, DMAHEAP_NOT_SUPPORTED, NAME("Allocate"));
        test_sent("error-" SERVICE("InterfaceNotFound"), -EOPNOTSUPP, DMAHEAP_NOT_SUPPORTED, "io.dmaheapd.Allocator");
        test_error("weird", -EREMOTEIO, DMAHEAP_OTHER, "com.example.Weird", NULL);
        test_error("lying", -ENOMEM, DMAHEAP_OUT_OF_MEMORY, NAME("OutOfMemory"), NULL);

        test_error("vanish", -ECONNRESET, DMAHEAP_DISCONNECTED, NULL, NULL);
        test_error("junk", -ECONNRESET, DMAHEAP_DISCONNECTED, NULL, NULL);
        test_error("short", -EPROTO, DMAHEAP_PROTOCOL, NULL, NULL);
        test_error("twice", -EPROTO, DMAHEAP_PROTOCOL, NULL, NULL);
}

static void test_quota(void) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;
        DmaHeapError *error = NULL;
        const DmaHeapQuota *q;

        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .heap = "error-QuotaExceeded", .size = 1 }, &reply, &error) ==
                        -EDQUOT);
        q = dmaheap_error_quota(error);
        CHECK(q && q->scope == DMAHEAP_SCOPE_CGROUP && q->resource == DMAHEAP_RESOURCE_BYTES);
        CHECK(strcmp(q->name, "/user.slice") == 0);
        CHECK(q->limit == UINT64_C(1) << 30 && q->used == UINT64_C(1) << 29 && q->requested == UINT64_C(3) << 29);
        CHECK(strcmp(dmaheap_error_message(error),
                              "over the limit of the cgroup /user.slice: 1G allowed, 512M in use, 1.5G more asked "
                              "for") == 0);
        (void) dmaheap_error_free(error);
        (void) dmaheap_connection_free(c);

        CHECK(dmaheap_error_reason(NULL) == DMAHEAP_OTHER && dmaheap_error_errno(NULL) == 0 &&
                        dmaheap_error_message(NULL));
        CHECK(!dmaheap_error_free(NULL) && !dmaheap_reply_free(NULL) && !dmaheap_connection_free(NULL));
}

static void test_timeout(void) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;
        DmaHeapError *error = NULL;
        uint64_t before;

        CHECK(dmaheap_connection_set_timeout(c, 100000) == 0);
        before = now();
        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .heap = "hang", .size = 1 }, &reply, &error) == -ETIMEDOUT);
        CHECK(dmaheap_error_reason(error) == DMAHEAP_NO_ANSWER);
        CHECK(now() - before >= 100000 && now() - before < 10000000);
        (void) dmaheap_error_free(error);

        CHECK(dmaheap_connection_set_timeout(c, DMAHEAP_INFINITY) == 0);
        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .heap = "slow", .size = 1 }, &reply, NULL) == 0);
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_connection_free(c);
}

static void on_nothing(DmaHeapConnection *c, int r, DmaHeapReply *reply, DmaHeapError *error, void *userdata) {
        (void) c, (void) r, (void) userdata;
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_error_free(error);
}

/* A daemon that accepts no connection: its socket's queue is full, and connect() waits. */
static void test_full_queue(void) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        DmaHeapConnection *c = NULL;
        DmaHeapReply *reply = NULL;
        DmaHeapError *error = NULL;
        int listener, waiting;
        uint64_t before;

        (void) snprintf(sa.sun_path, sizeof(sa.sun_path), "%s-full", fake_address());
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(listener >= 0 && bind(listener, (struct sockaddr *) &sa, sizeof(sa)) == 0 && listen(listener, 0) == 0);
        waiting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(waiting >= 0 && connect(waiting, (struct sockaddr *) &sa, sizeof(sa)) == 0);

        CHECK(dmaheap_connection_new(sa.sun_path, &c) == 0);
        CHECK(dmaheap_connection_set_timeout(c, 100000) == 0);
        before = now();
        CHECK(dmaheap_list_heaps(c, &reply, &error) == -ETIMEDOUT);
        CHECK(now() - before >= 100000 && now() - before < 10000000);
        CHECK(dmaheap_error_reason(error) == DMAHEAP_NO_ANSWER);
        error = dmaheap_error_free(error);

        /* Calls of an event loop do not wait. */
        CHECK(dmaheap_list_heaps_async(c, on_nothing, NULL) == -EAGAIN);

        (void) dmaheap_connection_free(c);
        CHECK(close(waiting) == 0 && close(listener) == 0 && unlink(sa.sun_path) == 0);
}

static void test_restart(void) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;
        DmaHeapError *error = NULL;
        int fd;

        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0);
        reply = dmaheap_reply_free(reply);

        fake_kill();
        CHECK(dmaheap_list_heaps(c, &reply, &error) == -ECONNREFUSED);
        CHECK(dmaheap_error_reason(error) == DMAHEAP_UNREACHABLE && !dmaheap_error_name(error));
        error = dmaheap_error_free(error);
        CHECK(dmaheap_list_heaps_async(c, NULL, NULL) == -EINVAL);
        CHECK(dmaheap_connection_connect(c, NULL) == -ECONNREFUSED);

        /* A restart while the connection is idle is invisible to the caller. */
        fake_start();
        fd = dmaheap_allocate_fd(c, NULL, 1, NULL);
        CHECK(fd >= 0);
        fake_kill();
        fake_start();
        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0);
        reply = dmaheap_reply_free(reply);
        CHECK(close(fd) == 0);
        (void) dmaheap_connection_free(c);
}

static void test_fork(void) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;
        int status;
        pid_t pid;

        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0);
        reply = dmaheap_reply_free(reply);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                DmaHeapConnection *mine = fake_connection();

                CHECK(dmaheap_list_heaps(c, &reply, NULL) == -ECHILD);
                CHECK(dmaheap_connection_process(c) == -ECHILD);
                (void) dmaheap_connection_free(c);
                CHECK(dmaheap_list_heaps(mine, &reply, NULL) == 0);
                _exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid && status == 0);
        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0);
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_connection_free(c);
}

int main(int argc, char *argv[]) {
        static void (*const tests[])(void) = {
                test_errors,
                test_quota,
                test_timeout,
                test_full_queue,
                test_restart,
                test_fork,
                NULL,
        };

        return fake_run_tests(argc, argv, tests);
}
