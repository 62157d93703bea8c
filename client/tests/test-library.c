/* SPDX-License-Identifier: MIT */
/* The library against a fake daemon: test-library FAKE-DAEMON */

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "dmaheap.h"
#include "shared/cleanup.h"

/* Errors of tests stay in builds without assertions. */
#define CHECK(x)                                                                               \
        do {                                                                                   \
                if (!(x)) {                                                                    \
                        (void) fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #x); \
                        abort();                                                               \
                }                                                                              \
        } while (0)

static const char *fake_daemon;
static char directory[] = "/tmp/test-library-XXXXXX", address[64];
static pid_t fake_pid;

static void fake_start(void) {
        char *argv[] = { (char *) "python3", (char *) fake_daemon, address, NULL };
        posix_spawn_file_actions_t actions;
        int out[2];
        char byte;

        CHECK(pipe2(out, O_CLOEXEC) == 0);
        CHECK(posix_spawn_file_actions_init(&actions) == 0);
        CHECK(posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO) == 0);
        CHECK(posix_spawnp(&fake_pid, "python3", &actions, NULL, argv, environ) == 0);
        CHECK(posix_spawn_file_actions_destroy(&actions) == 0);
        CHECK(close(out[1]) == 0);
        do
                CHECK(read(out[0], &byte, 1) == 1);
        while (byte != '\n');
        CHECK(close(out[0]) == 0);
}

static void fake_kill(void) {
        CHECK(kill(fake_pid, SIGKILL) == 0);
        CHECK(waitpid(fake_pid, NULL, 0) == fake_pid);
}

static size_t count_fds(void) {
        size_t n = 0;

        for (int fd = 0; fd < 1024; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static uint64_t now(void) {
        struct timespec ts;

        CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

static DmaHeapConnection *connection(void) {
        DmaHeapConnection *c = NULL;

        CHECK(dmaheap_connection_new(address, &c) == 0);
        return c;
}

/* ---- Blocking calls ------------------------------------------------------------------------------------------ */

static void test_allocate(void) {
        DmaHeapConnection *c = connection();
        DmaHeapReply *reply = NULL;
        struct stat st;
        int fd, first;

        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .heap = "system", .size = 5000, .count = 3, .label = "x" }, &reply,
                               NULL) == 0);
        CHECK(strcmp(dmaheap_reply_heap(reply), "system") == 0);
        CHECK(dmaheap_reply_n_buffers(reply) == 3);
        CHECK(dmaheap_reply_buffer(reply, 0)->size == 8192);
        CHECK(dmaheap_reply_buffer(reply, 0)->id != dmaheap_reply_buffer(reply, 1)->id);
        CHECK(!dmaheap_reply_buffer(reply, 3));
        CHECK(dmaheap_reply_fd(reply, 3) == -ENXIO);
        first = dmaheap_reply_fd(reply, 0);
        fd = dmaheap_reply_take_fd(reply, 1);
        CHECK(fd >= 0 && fd != first);
        CHECK(dmaheap_reply_fd(reply, 1) == -EBADF && dmaheap_reply_take_fd(reply, 1) == -EBADF);
        CHECK(fcntl(fd, F_GETFD) == FD_CLOEXEC);
        CHECK(fstat(fd, &st) == 0 && st.st_size == 8192);

        /* A reply is asked for what it is not. */
        CHECK(!dmaheap_reply_usage(reply));

        CHECK(!dmaheap_reply_free(reply));
        CHECK(!dmaheap_connection_free(c));
        CHECK(fcntl(first, F_GETFD) < 0);
        CHECK(fcntl(fd, F_GETFD) >= 0);
        CHECK(close(fd) == 0);
}

static void test_maximum(void) {
        DmaHeapConnection *c = connection();
        DmaHeapReply *reply = NULL;

        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .size = 1, .count = DMAHEAP_BUFFERS_MAX }, &reply, NULL) == 0);
        CHECK(dmaheap_reply_n_buffers(reply) == DMAHEAP_BUFFERS_MAX);
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_connection_free(c);
}

static void test_requests(void) {
        DmaHeapConnection *c = connection();
        DmaHeapReply *reply = NULL;
        DmaHeapError *error = NULL;
        int fd;

        CHECK(dmaheap_allocate(c, NULL, &reply, NULL) == -EINVAL);
        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .size = 1 }, NULL, NULL) == -EINVAL);
        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .size = 1, .flags = 2 }, &reply, &error) == -EINVAL);
        CHECK(dmaheap_error_reason(error) == DMAHEAP_INVALID_PARAMETER && !dmaheap_error_name(error));
        error = dmaheap_error_free(error);
        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .size = 1, .reserved_1 = 1 }, &reply, NULL) == -EINVAL);
        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .size = 1, .reserved_2 = { [5] = 1 } }, &reply, NULL) == -EINVAL);
        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .size = 1, .heap = "\xff" }, &reply, &error) == -EINVAL);
        error = dmaheap_error_free(error);
        CHECK(!reply);

        fd = dmaheap_allocate_fd(c, "contiguous", 4096, NULL);
        CHECK(fd >= 0);
        CHECK(dmaheap_begin_cpu_access(fd, PROT_READ) == -ENOTTY);
        CHECK(dmaheap_begin_cpu_access(fd, 0) == -EINVAL);
        CHECK(dmaheap_end_cpu_access(fd, PROT_EXEC) == -EINVAL);
        CHECK(close(fd) == 0);
        CHECK(dmaheap_end_cpu_access(fd, PROT_WRITE) == -EBADF);

        CHECK(dmaheap_connection_set_timeout(c, 0) == -EINVAL);
        (void) dmaheap_connection_free(c);

        CHECK(dmaheap_connection_new("", &c) == -EINVAL);
        CHECK(dmaheap_connection_new("/0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
                                     "89012345678901234567", &c) == -ENAMETOOLONG);
}

/* One error of the interface: that it reaches the caller whole, and that the connection is good for more. */
static void test_error(const char *heap, int errno_expected, DmaHeapReason reason, const char *name, const char *detail) {
        DmaHeapConnection *c = connection();
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

static void test_errors(void) {
        test_error("error-NoSuchHeap", -ENOENT, DMAHEAP_NO_SUCH_HEAP, NAME("NoSuchHeap"), NULL);
        test_error("error-HeapUnavailable", -ENODEV, DMAHEAP_HEAP_UNAVAILABLE, NAME("HeapUnavailable"), "no module provides it");
        test_error("error-QuotaExceeded", -EDQUOT, DMAHEAP_QUOTA_EXCEEDED, NAME("QuotaExceeded"), NULL);
        test_error("error-OutOfMemory", -ENOMEM, DMAHEAP_OUT_OF_MEMORY, NAME("OutOfMemory"), NULL);
        test_error("error-OutOfResources", -EAGAIN, DMAHEAP_OUT_OF_RESOURCES, NAME("OutOfResources"), "processes");
        test_error("error-TimedOut", -ETIME, DMAHEAP_TIMED_OUT, NAME("TimedOut"), NULL);
        test_error("error-" SERVICE("InvalidParameter"), -EINVAL, DMAHEAP_INVALID_PARAMETER, SERVICE("InvalidParameter"), "size");
        test_error("error-" SERVICE("PermissionDenied"), -EPERM, DMAHEAP_PERMISSION_DENIED, SERVICE("PermissionDenied"), NULL);
        test_error("error-" SERVICE("MethodNotFound"), -EOPNOTSUPP, DMAHEAP_NOT_SUPPORTED, SERVICE("MethodNotFound"),
                   NAME("Allocate"));
        test_error("error-" SERVICE("MethodNotImplemented"), -EOPNOTSUPP, DMAHEAP_NOT_SUPPORTED,
                   SERVICE("MethodNotImplemented"), NAME("Allocate"));
        test_error("error-" SERVICE("InterfaceNotFound"), -EOPNOTSUPP, DMAHEAP_NOT_SUPPORTED, SERVICE("InterfaceNotFound"),
                   "io.dmaheapd.Allocator");
        test_error("weird", -EREMOTEIO, DMAHEAP_OTHER, "com.example.Weird", NULL);
        test_error("lying", -ENOMEM, DMAHEAP_OUT_OF_MEMORY, NAME("OutOfMemory"), NULL);

        test_error("vanish", -ECONNRESET, DMAHEAP_DISCONNECTED, NULL, NULL);
        test_error("junk", -ECONNRESET, DMAHEAP_DISCONNECTED, NULL, NULL);
        test_error("short", -EPROTO, DMAHEAP_PROTOCOL, NULL, NULL);
        test_error("twice", -EPROTO, DMAHEAP_PROTOCOL, NULL, NULL);
}

static void test_quota(void) {
        DmaHeapConnection *c = connection();
        DmaHeapReply *reply = NULL;
        DmaHeapError *error = NULL;
        const DmaHeapQuota *q;

        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .heap = "error-QuotaExceeded", .size = 1 }, &reply, &error) == -EDQUOT);
        q = dmaheap_error_quota(error);
        CHECK(q && q->scope == DMAHEAP_SCOPE_CGROUP && q->resource == DMAHEAP_RESOURCE_BYTES);
        CHECK(strcmp(q->name, "/user.slice") == 0);
        CHECK(q->limit == UINT64_C(1) << 30 && q->used == UINT64_C(1) << 29 && q->requested == UINT64_C(3) << 29);
        CHECK(strcmp(dmaheap_error_message(error),
                     "over the limit of the cgroup /user.slice: 1G allowed, 512M in use, 1.5G more asked for") == 0);
        (void) dmaheap_error_free(error);
        (void) dmaheap_connection_free(c);

        CHECK(dmaheap_error_reason(NULL) == DMAHEAP_OTHER && dmaheap_error_errno(NULL) == 0 && dmaheap_error_message(NULL));
        CHECK(!dmaheap_error_free(NULL) && !dmaheap_reply_free(NULL) && !dmaheap_connection_free(NULL));
}

static void test_lists(void) {
        DmaHeapConnection *c = connection();
        const DmaHeapLiveBuffer *const *buffers;
        const DmaHeapClient *const *clients;
        const DmaHeapUsageReport *usage;
        const DmaHeapInfo *const *heaps;
        DmaHeapReply *reply = NULL;
        char *json = NULL;
        size_t n;

        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0);
        heaps = dmaheap_reply_heaps(reply, &n);
        CHECK(n == 4);
        CHECK(heaps[0]->state == DMAHEAP_STATE_READY && heaps[0]->accounting == DMAHEAP_ACCOUNTING_KERNEL);
        CHECK(heaps[0]->size == DMAHEAP_UNLIMITED && !heaps[0]->region && !heaps[0]->module && !heaps[0]->reason);
        CHECK(strcmp(heaps[1]->roles[0], "contiguous") == 0 && strcmp(heaps[1]->roles[1], "x") == 0 && !heaps[1]->roles[2]);
        CHECK(heaps[1]->size == 64 << 20 && strcmp(heaps[1]->region, "reserved") == 0);
        CHECK(heaps[2]->state == DMAHEAP_STATE_FAILED && strcmp(heaps[2]->reason, "No such device") == 0);
        CHECK(!heaps[2]->roles[0]);
        CHECK(heaps[3]->state == DMAHEAP_STATE_UNKNOWN && heaps[3]->accounting == DMAHEAP_ACCOUNTING_UNKNOWN);
        CHECK(!dmaheap_reply_clients(reply, &n) && n == 0);
        CHECK(dmaheap_reply_json(reply, 0, &json) == 0);
        CHECK(strncmp(json, "{\"heaps\":[{\"name\":\"system\",", 27) == 0 && strchr(json, '\n') == json + strlen(json) - 1);
        CHECK(strstr(json, "\"extra\":[1]") && strstr(json, "\"size\":null"));
        free(json);
        (void) dmaheap_reply_free(reply);

        CHECK(dmaheap_get_usage(c, &reply, NULL) == 0);
        usage = dmaheap_reply_usage(reply);
        CHECK(usage->client->bytes_used == 1 << 20 && usage->client->bytes_max == 1 << 30);
        CHECK(usage->client->buffers_used == 3 && usage->client->buffers_max == DMAHEAP_UNLIMITED);
        CHECK(usage->user->bytes_max == DMAHEAP_UNLIMITED && usage->cgroup_headroom == 5 << 20);
        CHECK(usage->n_heaps == 1 && usage->heaps[0]->bytes_max == DMAHEAP_UNLIMITED);
        (void) dmaheap_reply_free(reply);

        CHECK(dmaheap_list_clients(c, &reply, NULL) == 0);
        clients = dmaheap_reply_clients(reply, &n);
        CHECK(n == 1 && !clients[0]->unit && strcmp(clients[0]->cgroup, "/a") == 0);
        CHECK(clients[0]->uid == 1000 && clients[0]->user == 1001 && clients[0]->connections == 2 && clients[0]->n_heaps == 1);
        (void) dmaheap_reply_free(reply);

        CHECK(dmaheap_list_buffers(c, NULL, (uid_t) -1, &reply, NULL) == 0);
        buffers = dmaheap_reply_live_buffers(reply, &n);
        CHECK(n == 1 && buffers[0]->id == 7 && strcmp(buffers[0]->label, "x") == 0 && buffers[0]->allocated_usec == 123);
        (void) dmaheap_reply_free(reply);
        CHECK(dmaheap_list_buffers(c, "b.service", 0, &reply, NULL) == 0);
        (void) dmaheap_reply_live_buffers(reply, &n);
        CHECK(n == 0);
        (void) dmaheap_reply_free(reply);

        (void) dmaheap_connection_free(c);
}

static void test_timeout(void) {
        DmaHeapConnection *c = connection();
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

static void test_restart(void) {
        DmaHeapConnection *c = connection();
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

        /* Restarted while the connection was idle: nothing to see. */
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
        DmaHeapConnection *c = connection();
        DmaHeapReply *reply = NULL;
        int status;
        pid_t pid;

        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0);
        reply = dmaheap_reply_free(reply);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
                DmaHeapConnection *mine = connection();

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

/* ---- In a program's own event loop --------------------------------------------------------------------------- */

typedef struct Seen {
        int order[16];
        int results[16];
        DmaHeapReason reasons[16];
        size_t n;
        uint64_t last_used;
        bool again;
} Seen;

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
                CHECK(dmaheap_allocate_async(c, &(DmaHeapRequest) { .heap = "z", .size = 1 }, on_answer, seen) == 0);
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
        DmaHeapConnection *c = connection();
        DmaHeapReply *reply = NULL;
        uint64_t timeout = 0;
        Seen seen = { .again = true };

        CHECK(dmaheap_connection_process(c) == 0);
        CHECK(dmaheap_connection_get_timeout(c, &timeout) == 0 && timeout == DMAHEAP_INFINITY);
        CHECK(dmaheap_allocate_async(c, &(DmaHeapRequest) { .heap = "a", .size = 1, .count = 2 }, on_answer, &seen) == 0);
        CHECK(dmaheap_allocate_async(c, &(DmaHeapRequest) { .heap = "error-NoSuchHeap", .size = 1 }, on_answer, &seen) == 0);
        CHECK(dmaheap_allocate_async(c, &(DmaHeapRequest) { .heap = "vanish", .size = 1 }, on_answer, &seen) == 0);
        CHECK(dmaheap_allocate_async(c, &(DmaHeapRequest) { .heap = "b", .size = 1 }, on_answer, &seen) == 0);
        CHECK(dmaheap_get_usage_async(c, on_answer, &seen) == 0);
        CHECK(dmaheap_list_heaps(c, &reply, NULL) == -EBUSY);
        loop_until(c, &seen, 6);

        CHECK(seen.order[0] == 'a' && seen.results[0] == 0);
        CHECK(seen.results[1] == -ENOENT && seen.reasons[1] == DMAHEAP_NO_SUCH_HEAP);
        CHECK(seen.results[2] == -ECONNRESET && seen.reasons[2] == DMAHEAP_DISCONNECTED);
        CHECK(seen.order[3] == 'b' && seen.results[4] == 0 && seen.order[5] == 'z');
        CHECK(dmaheap_connection_process(c) == 0 && dmaheap_connection_wait(c, 0) == 0);

        /* Blocking calls work again, and calls may stay unanswered when the connection goes. */
        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0);
        (void) dmaheap_reply_free(reply);
        CHECK(dmaheap_allocate_async(c, &(DmaHeapRequest) { .heap = "hang", .size = 1 }, on_answer, &seen) == 0);
        CHECK(dmaheap_list_heaps_async(c, on_answer, &seen) == 0);
        (void) dmaheap_connection_free(c);
        CHECK(seen.n == 6);
}

static void test_async_timeout(void) {
        DmaHeapConnection *c = connection();
        Seen seen = {};

        CHECK(dmaheap_connection_set_timeout(c, 100000) == 0);
        CHECK(dmaheap_allocate_async(c, &(DmaHeapRequest) { .heap = "hang", .size = 1 }, on_answer, &seen) == 0);
        CHECK(dmaheap_connection_set_timeout(c, DMAHEAP_TIMEOUT_DEFAULT) == 0);
        CHECK(dmaheap_allocate_async(c, &(DmaHeapRequest) { .heap = "b", .size = 1 }, on_answer, &seen) == 0);
        loop_until(c, &seen, 2);
        CHECK(seen.results[0] == -ETIMEDOUT && seen.reasons[0] == DMAHEAP_NO_ANSWER);
        CHECK(seen.order[1] == 'b');
        (void) dmaheap_connection_free(c);
}

/* A daemon that goes away from an idle connection must not keep its fd readable for ever. */
static void test_async_idle_disconnect(void) {
        DmaHeapConnection *c = connection();
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
        DmaHeapConnection *c = connection();
        DmaHeapReply *reply = NULL;
        Seen seen = {};

        CHECK(dmaheap_subscribe_heaps(c, on_answer, &seen) == 0);
        CHECK(dmaheap_subscribe_heaps(c, on_answer, &seen) == -EBUSY);
        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0); /* beside it */
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
        CHECK(dmaheap_connection_process(c) == 0 && seen.n == 5);
        CHECK(dmaheap_subscribe_heaps(c, on_answer, &seen) == 0);
        (void) dmaheap_connection_free(c);
}

int main(int argc, char *argv[]) {
        size_t n_fds;

        CHECK(argc == 2);
        fake_daemon = argv[1];
        CHECK(mkdtemp(directory));
        (void) snprintf(address, sizeof(address), "%s/socket", directory);
        fake_start();

        n_fds = count_fds();
        test_allocate();
        test_maximum();
        test_requests();
        test_errors();
        test_quota();
        test_lists();
        test_timeout();
        test_restart();
        test_fork();
        test_async();
        test_async_timeout();
        test_async_idle_disconnect();
        test_subscription();
        CHECK(count_fds() == n_fds);

        fake_kill();
        CHECK(unlink(address) == 0 && rmdir(directory) == 0);
        return 0;
}
