/* SPDX-License-Identifier: MIT */
/* Blocking calls that succeed, and requests that the library itself refuses: test-library FAKE-DAEMON */

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fake.h"

static void test_allocate(void) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;
        struct stat st;
        int fd, first;

        CHECK(dmaheap_allocate(c,
                              &(DmaHeapRequest) { .heap = "system", .size = 5000, .count = 3, .label = "x" },
                              &reply,
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

        /* The function for another method's reply gives NULL. */
        CHECK(!dmaheap_reply_usage(reply));

        CHECK(!dmaheap_reply_free(reply));
        CHECK(!dmaheap_connection_free(c));
        CHECK(fcntl(first, F_GETFD) < 0);
        CHECK(fcntl(fd, F_GETFD) >= 0);
        CHECK(close(fd) == 0);
}

/* A buffer's fd is the one whose index the reply gives, in whatever order the fds come. */
static void test_fd_order(void) {
        static const char *const heaps[] = { "system", "reversed" };
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;

        for (size_t h = 0; h < 2; h++) {
                DmaHeapRequest request = { .heap = heaps[h], .size = 1, .count = 3 };

                CHECK(dmaheap_allocate(c, &request, &reply, NULL) == 0);
                for (size_t i = 0; i < 3; i++) {
                        uint64_t id = 0;

                        CHECK(pread(dmaheap_reply_fd(reply, i), &id, sizeof(id), 0) == sizeof(id));
                        CHECK(id == dmaheap_reply_buffer(reply, i)->id);
                }
                reply = dmaheap_reply_free(reply);
        }
        (void) dmaheap_connection_free(c);
}

static void test_label(void) {
        DmaHeapConnection *c = fake_connection();
        char path[64], target[64] = "";
        DmaHeapReply *reply = NULL;

        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .size = 1, .label = "a label" }, &reply, NULL) == 0);
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", dmaheap_reply_fd(reply, 0));
        CHECK(readlink(path, target, sizeof(target) - 1) > 0);
        CHECK(strncmp(target, "/memfd:a label ", strlen("/memfd:a label ")) == 0);
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_connection_free(c);
}

/* DMAHEAP_READ_ONLY reaches the daemon as readOnly, and nothing else does. */
static void test_read_only(void) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;

        for (uint64_t flags = 0; flags <= DMAHEAP_READ_ONLY; flags++) {
                DmaHeapRequest request = { .size = 1, .count = 2, .flags = flags };
                int access = flags ? O_RDONLY : O_RDWR;

                CHECK(dmaheap_allocate(c, &request, &reply, NULL) == 0);
                for (size_t i = 0; i < 2; i++)
                        CHECK((fcntl(dmaheap_reply_fd(reply, i), F_GETFL) & O_ACCMODE) == access);
                reply = dmaheap_reply_free(reply);
        }
        (void) dmaheap_connection_free(c);
}

static void test_maximum(void) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;

        CHECK(dmaheap_allocate(c, &(DmaHeapRequest) { .size = 1, .count = DMAHEAP_BUFFERS_MAX }, &reply, NULL) == 0);
        CHECK(dmaheap_reply_n_buffers(reply) == DMAHEAP_BUFFERS_MAX);
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_connection_free(c);
}

static void test_requests(void) {
        DmaHeapConnection *c = fake_connection();
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
        CHECK(dmaheap_connection_new("/012345678901234567890123456789012345678901234567890123456789"
                                     "01234567890123456789012345678901234567890123456789",
                              &c) == -ENAMETOOLONG);
}

static void test_list_heaps(void) {
        DmaHeapConnection *c = fake_connection();
        const DmaHeapInfo *const *heaps;
        DmaHeapReply *reply = NULL;
        char *json = NULL;
        size_t n;

        CHECK(dmaheap_list_heaps(c, &reply, NULL) == 0);
        heaps = dmaheap_reply_heaps(reply, &n);
        CHECK(n == 4);
        CHECK(heaps[0]->state == DMAHEAP_STATE_READY && heaps[0]->accounting == DMAHEAP_ACCOUNTING_KERNEL);
        CHECK(heaps[0]->size == DMAHEAP_UNLIMITED && !heaps[0]->region && !heaps[0]->module && !heaps[0]->reason);
        CHECK(strcmp(heaps[1]->roles[0], "contiguous") == 0 && strcmp(heaps[1]->roles[1], "x") == 0);
        CHECK(!heaps[1]->roles[2]);
        CHECK(heaps[1]->size == 64 << 20 && strcmp(heaps[1]->region, "reserved") == 0);
        CHECK(heaps[2]->state == DMAHEAP_STATE_FAILED && strcmp(heaps[2]->reason, "No such device") == 0);
        CHECK(!heaps[2]->roles[0]);
        CHECK(heaps[3]->state == DMAHEAP_STATE_UNKNOWN && heaps[3]->accounting == DMAHEAP_ACCOUNTING_UNKNOWN);
        CHECK(!dmaheap_reply_clients(reply, &n) && n == 0);
        CHECK(dmaheap_reply_json(reply, 0, &json) == 0);
        CHECK(strncmp(json, "{\"heaps\":[{\"name\":\"system\",", 27) == 0);
        CHECK(strchr(json, '\n') == json + strlen(json) - 1);
        CHECK(strstr(json, "\"extra\":[1]") && strstr(json, "\"size\":null"));
        free(json);
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_connection_free(c);
}

static void test_usage(void) {
        DmaHeapConnection *c = fake_connection();
        const DmaHeapUsageReport *usage;
        DmaHeapReply *reply = NULL;

        CHECK(dmaheap_get_usage(c, &reply, NULL) == 0);
        usage = dmaheap_reply_usage(reply);
        CHECK(usage->client->bytes_used == 1 << 20 && usage->client->bytes_max == 1 << 30);
        CHECK(usage->client->buffers_used == 3 && usage->client->buffers_max == DMAHEAP_UNLIMITED);
        CHECK(usage->user->bytes_max == DMAHEAP_UNLIMITED && usage->cgroup_headroom == 5 << 20);
        CHECK(usage->n_heaps == 1 && usage->heaps[0]->bytes_max == DMAHEAP_UNLIMITED);
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_connection_free(c);
}

static void test_list_clients_and_buffers(void) {
        DmaHeapConnection *c = fake_connection();
        const DmaHeapLiveBuffer *const *buffers;
        const DmaHeapClient *const *clients;
        DmaHeapReply *reply = NULL;
        size_t n;

        CHECK(dmaheap_list_clients(c, &reply, NULL) == 0);
        clients = dmaheap_reply_clients(reply, &n);
        CHECK(n == 1 && !clients[0]->unit && strcmp(clients[0]->cgroup, "/a") == 0);
        CHECK(clients[0]->uid == 1000 && clients[0]->user == 1001 && clients[0]->connections == 2);
        CHECK(clients[0]->n_heaps == 1);
        (void) dmaheap_reply_free(reply);

        CHECK(dmaheap_list_buffers(c, NULL, (uid_t) -1, &reply, NULL) == 0);
        buffers = dmaheap_reply_live_buffers(reply, &n);
        CHECK(n == 1 && buffers[0]->id == 7 && strcmp(buffers[0]->label, "x") == 0);
        CHECK(buffers[0]->allocated_usec == 123);
        (void) dmaheap_reply_free(reply);
        CHECK(dmaheap_list_buffers(c, "b.service", 0, &reply, NULL) == 0);
        (void) dmaheap_reply_live_buffers(reply, &n);
        CHECK(n == 0);
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_connection_free(c);
}

static void test_daemon_info(void) {
        DmaHeapConnection *c = fake_connection();
        DmaHeapReply *reply = NULL;

        CHECK(dmaheap_get_daemon_info(c, &reply, NULL) == 0);
        CHECK(strcmp(dmaheap_reply_daemon_info(reply)->product, "fake (buffers counted by hand)") == 0);
        CHECK(strcmp(dmaheap_reply_daemon_info(reply)->version, "7") == 0 && !dmaheap_reply_usage(reply));
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_connection_free(c);
}

int main(int argc, char *argv[]) {
        static void (*const tests[])(void) = {
                test_allocate,
                test_fd_order,
                test_label,
                test_read_only,
                test_maximum,
                test_requests,
                test_list_heaps,
                test_usage,
                test_list_clients_and_buffers,
                test_daemon_info,
                NULL,
        };

        return fake_run_tests(argc, argv, tests);
}
