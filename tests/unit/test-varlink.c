/* SPDX-License-Identifier: GPL-2.0-only */

/* The varlink server with its methods and links, to the byte on the socket. sd-varlink, the registry of heaps and the
 * JSON are the real ones; the linker takes the manager, the requests, the scan and the accounting from below. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "unit-loop.h"
#include "util/fd-util.h"
#include "varlink/allocate-parameters.h"
#include "varlink/varlink-server.h"

#define LISTEN_FD 3 /* sd_listen_fds(3) */
#define CALL(method) "{\"method\":\"io.dmaheapd.Allocator." method "\"}"
#define OUT_OF_RESOURCES(resource) \
        "{\"error\":\"io.dmaheapd.Allocator.OutOfResources\",\"parameters\":{\"resource\":\"" resource "\"}}"
#define PERMISSION_DENIED "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}"
#define INVALID_PARAMETER(name) \
        "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"" name "\"}}"

struct RoundWait {
        RoundWait *next;
        round_done_t on_done;
        void *userdata;
};

struct AllocateRequest {
        AllocateParameters parameters;
        allocate_replied_t on_replied;
        void *userdata;
};

static struct {
        char *directory;
        struct sockaddr_un address;
        Manager manager;
        Config config;
        Peer peer;
        User user;
        Client client;
        Ledger *ledger;
        VarlinkServer *server;
        heap_changed_t on_heaps_changed;
        void *on_heaps_changed_userdata;

        bool refused; /* connections are not admitted */
        bool scan_is_recent;
        const char *wrong; /* parameter */
        RoundWait *waits;
        unsigned n_scans;
        AllocateRequest *request;
        unsigned n_cancelled;
        unsigned n_connections;
} t;

int manager_connect(Manager *manager, int socket_fd, Connection *ret) {
        assert_ptr_equal(manager, &t.manager);
        assert_true(socket_fd >= 0);
        *ret = (Connection) { .peer = &t.peer, .client = &t.client };
        t.n_connections++;
        return 0;
}

bool manager_admit(Manager *manager, Connection *connection) {
        (void) manager;
        connection->admitted = connection->admitted || !t.refused;
        return connection->admitted;
}

void manager_disconnect(Manager *manager, Connection *connection) {
        (void) manager;
        if (connection->client)
                t.n_connections--;
        *connection = (Connection) {};
}

const char *manager_product(const Manager *manager) {
        (void) manager;
        return "dmaheapd (test)";
}

void manager_set_heaps_changed(Manager *manager, heap_changed_t on_heaps_changed, void *userdata) {
        (void) manager;
        t.on_heaps_changed = on_heaps_changed;
        t.on_heaps_changed_userdata = userdata;
}

int accounting_wait_census(Accounting *accounting, round_done_t on_done, void *userdata, RoundWait **ret) {
        RoundWait *wait = malloc(sizeof(RoundWait));

        (void) accounting;
        assert_non_null(wait);
        *wait = (RoundWait) { .next = t.waits, .on_done = on_done, .userdata = userdata };
        *ret = t.waits = wait;
        return 0;
}

int heap_scan_wait(HeapScan *scan, round_done_t on_scanned, void *userdata, RoundWait **ret) {
        (void) scan;
        t.n_scans++;
        return accounting_wait_census(NULL, on_scanned, userdata, ret);
}

bool heap_scan_is_recent(const HeapScan *scan) {
        (void) scan;
        return t.scan_is_recent;
}

RoundWait *round_wait_cancel(RoundWait *wait) {
        if (!wait)
                return NULL;

        for (RoundWait **p = &t.waits; *p; p = &(*p)->next)
                if (*p == wait) {
                        *p = wait->next;
                        break;
                }
        free(wait);
        return NULL;
}

void accounting_limits(const Accounting *accounting, const Client *client, PolicyLimits *ret) {
        (void) accounting;
        (void) client;
        *ret = (PolicyLimits) { .client_bytes = 1, .client_buffers = 2, .user_bytes = 3 };
}

bool accounting_next_usage(const Accounting *accounting, const Client *client, HeapUsage *usage) {
        (void) accounting;
        (void) client;
        (void) usage;
        return false;
}

int accounting_headroom(const Accounting *accounting, const Peer *peer, uint64_t *ret) {
        (void) accounting;
        assert_ptr_equal(peer, &t.peer);
        *ret = 4;
        return 0;
}

Ledger *accounting_ledger(Accounting *accounting) {
        (void) accounting;
        return t.ledger;
}

const char *allocate_parameters_check(const AllocateParameters *parameters) {
        (void) parameters;
        return t.wrong;
}

int allocate_request_new(Allocator *allocator, const Connection *connection, const AllocateParameters *parameters,
                allocate_replied_t on_replied, void *userdata, AllocateRequest **ret) {
        assert_ptr_equal(allocator, &t.manager.allocator);
        assert_true(connection->admitted);
        assert_null(t.request);
        t.request = malloc(sizeof(AllocateRequest));
        assert_non_null(t.request);
        *t.request = (AllocateRequest) { .parameters = *parameters, .on_replied = on_replied, .userdata = userdata };
        *ret = t.request;
        return 0;
}

void allocate_request_cancel(AllocateRequest *request) {
        assert_ptr_equal(request, t.request);
        free(TAKE_PTR(t.request));
        t.n_cancelled++;
}

/* Ends the request; the reply is the request's last act. */
static bool finish_request(const AllocateReply *reply) {
        AllocateRequest *request = t.request;

        assert_non_null(request);
        bool delivered = request->on_replied(reply, request->userdata);
        assert_ptr_equal(t.request, request);
        free(TAKE_PTR(t.request));
        loop_settle(t.manager.event);
        return delivered;
}

static void finish_wait(void) {
        RoundWait *wait = t.waits;

        assert_non_null(wait);
        RoundWait done = *wait;
        round_wait_cancel(wait);
        done.on_done(done.userdata);
        loop_settle(t.manager.event);
}

static int setup(void **state) {
        (void) state;
        memset(&t, 0, sizeof(t));
        t.directory = directory_new();
        t.address.sun_family = AF_UNIX;
        assert_true(snprintf(t.address.sun_path, sizeof(t.address.sun_path), "%s/s", t.directory) > 0);

        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        if (fd != LISTEN_FD) {
                assert_int_equal(dup2(fd, LISTEN_FD), LISTEN_FD);
                close(fd);
        }
        assert_int_equal(bind(LISTEN_FD, (struct sockaddr *) &t.address, sizeof(t.address)), 0);
        assert_int_equal(listen(LISTEN_FD, 16), 0);

        char pid[32];
        (void) snprintf(pid, sizeof(pid), "%d", getpid());
        assert_int_equal(setenv("LISTEN_PID", pid, true), 0);
        assert_int_equal(setenv("LISTEN_FDS", "1", true), 0);
        assert_int_equal(setenv("LISTEN_FDNAMES", "varlink", true), 0);

        assert_true(sd_event_new(&t.manager.event) >= 0);
        heap_registry_init(&t.manager.heaps, NULL, NULL);
        t.config.connections_max = t.config.connections_per_user_max = 8;
        t.manager.config = &t.config;
        t.user.uid = 1000;
        t.client.user = &t.user;
        assert_int_equal(varlink_server_new(&t.manager, &t.server), 0);
        return 0;
}

/* The daemon ends: sd-varlink closes the connections when the loop exits. */
static void end(void) {
        if (sd_event_get_state(t.manager.event) != SD_EVENT_FINISHED) {
                assert_true(sd_event_exit(t.manager.event, 0) >= 0);
                assert_true(sd_event_loop(t.manager.event) >= 0);
        }
        t.server = varlink_server_free(t.server);
}

static int teardown(void **state) {
        (void) state;
        end();
        assert_int_equal(t.n_connections, 0);
        assert_null(t.request);
        assert_null(t.waits);
        heap_registry_done(&t.manager.heaps);
        sd_event_unref(t.manager.event);
        (void) close(LISTEN_FD);
        directory_remove(t.directory);
        return 0;
}

static int client_connect(void) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (struct sockaddr *) &t.address, sizeof(t.address)), 0);
        loop_settle(t.manager.event);
        return fd;
}

static void client_send(int fd, const char *call) {
        assert_int_equal(send(fd, call, strlen(call) + 1, MSG_NOSIGNAL), strlen(call) + 1);
        loop_settle(t.manager.event);
}

/* Receives one message, or the part of it that has come. The text is good until the next call. ret_n_fds: how many fds
 * came with it; they are closed. */
static const char *client_receive(int fd, unsigned *ret_n_fds) {
        static char message[1 << 18];
        size_t n = 0;

        if (ret_n_fds)
                *ret_n_fds = 0;
        while (n == 0 || message[n - 1] != 0) {
                union {
                        struct cmsghdr header;
                        char room[CMSG_SPACE(253 * sizeof(int))];
                } control;
                size_t room = sizeof(message) - 1 - n;
                ssize_t available = recv(fd, &message[n], room, MSG_PEEK);

                assert_true(room > 0);
                if (available <= 0)
                        break;

                const char *end = memchr(&message[n], 0, available);
                struct iovec iov = { &message[n], end ? (size_t) (end + 1 - &message[n]) : (size_t) available };
                struct msghdr header = {
                        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
                };
                ssize_t received = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);

                assert_true(received > 0);
                n += received;
                for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
                        size_t n_fds = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

                        close_many((int *) CMSG_DATA(c), n_fds);
                        if (ret_n_fds)
                                *ret_n_fds += n_fds;
                }
        }
        message[n] = 0;
        return message;
}

static void assert_received(int fd, const char *expected) {
        assert_string_equal(client_receive(fd, NULL), expected);
}

static void client_ask(int fd, const char *call, const char *expected) {
        client_send(fd, call);
        assert_received(fd, expected);
}

static int buffer_new(void) {
        int fd = memfd_create("buffer", MFD_CLOEXEC);

        assert_true(fd >= 0);
        return fd;
}

static void test_allocate(void **state) {
        _cleanup_close_ int fd = client_connect();
        unsigned n_fds;
        (void) state;

        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.Allocate\",\"parameters\":{\"size\":4096}}");
        assert_non_null(t.request);
        assert_int_equal(t.request->parameters.size, 4096);
        assert_int_equal(t.request->parameters.n_buffers, 1);
        assert_false(t.request->parameters.read_only);
        assert_null(t.request->parameters.heap);
        assert_null(t.request->parameters.label);

        WorkerBuffer buffers[] = { { buffer_new(), 70 }, { buffer_new(), 71 } };
        assert_true(finish_request(
                        &(AllocateReply) { .heap = "system", .buffers = buffers, .n_buffers = 2, .size = 4096 }));
        assert_int_equal(buffers[0].fd, -EBADF); /* they are the connection's */
        assert_int_equal(buffers[1].fd, -EBADF);
        assert_string_equal(client_receive(fd, &n_fds),
                        "{\"parameters\":{\"heap\":\"system\",\"buffers\":[{\"fileDescriptor\":0,\"id\":70,\"size\":"
                        "4096},"
                        "{\"fileDescriptor\":1,\"id\":71,\"size\":4096}]}}");
        assert_int_equal(n_fds, 2);

        client_send(fd,
                        "{\"method\":\"io.dmaheapd.Allocator.Allocate\",\"parameters\":{\"size\":1,\"count\":3,"
                        "\"role\":null,"
                        "\"heap\":\"camera\",\"access\":\"readOnly\",\"label\":\"frame\"}}");
        assert_int_equal(t.request->parameters.n_buffers, 3);
        assert_true(t.request->parameters.read_only);
        assert_false(finish_request(&(AllocateReply) { .error = ALLOCATE_TIMED_OUT, .heap = "camera" }));
        assert_received(fd, "{\"error\":\"io.dmaheapd.Allocator.TimedOut\",\"parameters\":{\"heap\":\"camera\"}}");
}

/* A call with a wrong parameter is refused without a request. */
static void test_allocate_refused(void **state) {
        static const struct {
                const char *parameters, *reply;
        } rows[] = {
                { "{}", INVALID_PARAMETER("size") },
                { "{\"size\":-1}", INVALID_PARAMETER("size") },
                { "{\"size\":\"1\"}", INVALID_PARAMETER("size") },
                { "{\"size\":1,\"count\":\"1\"}", INVALID_PARAMETER("count") },
                { "{\"size\":1,\"access\":\"writeOnly\"}", INVALID_PARAMETER("access") },
                { "{\"size\":1,\"heap\":1}", INVALID_PARAMETER("heap") },
                { "{\"size\":1,\"nonsense\":1}", INVALID_PARAMETER("nonsense") },
        };
        _cleanup_close_ int fd = client_connect();
        char call[256];
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                (void) snprintf(call,
                                sizeof(call),
                                "{\"method\":\"io.dmaheapd.Allocator.Allocate\",\"parameters\":%s}",
                                rows[i].parameters);
                client_send(fd, call);
                const char *reply = client_receive(fd, NULL);
                if (t.request || strcmp(reply, rows[i].reply) != 0)
                        fail_msg("row %zu: %s", i, reply);
        }

        t.wrong = "label";
        client_ask(fd,
                        "{\"method\":\"io.dmaheapd.Allocator.Allocate\",\"parameters\":{\"size\":1}}",
                        INVALID_PARAMETER("label"));
        assert_null(t.request);
}

static void test_errors_of_varlink(void **state) {
        _cleanup_close_ int fd = client_connect();
        (void) state;

        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.Allocate\",\"parameters\":{\"size\":1}}");
        assert_false(finish_request(&(AllocateReply) { .error = ALLOCATE_PERMISSION_DENIED }));
        assert_received(fd, PERMISSION_DENIED);
        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.Allocate\",\"parameters\":{\"size\":1}}");
        assert_false(finish_request(&(AllocateReply) { .error = ALLOCATE_INVALID_PARAMETER, .parameter = "size" }));
        assert_received(fd, INVALID_PARAMETER("size"));
}

/* Past the limits on connections every method says so, until there is room. */
static void test_not_admitted(void **state) {
        (void) state;
        t.refused = true;
        _cleanup_close_ int fd = client_connect();

        client_ask(fd,
                        "{\"method\":\"io.dmaheapd.Allocator.Allocate\",\"parameters\":{\"size\":1}}",
                        OUT_OF_RESOURCES("connections"));
        client_ask(fd, CALL("ListHeaps"), OUT_OF_RESOURCES("connections"));
        client_ask(fd, CALL("GetUsage"), OUT_OF_RESOURCES("connections"));
        client_ask(fd, CALL("ListClients"), OUT_OF_RESOURCES("connections"));
        client_ask(fd, CALL("ListBuffers"), OUT_OF_RESOURCES("connections"));
        assert_null(t.waits);

        t.refused = false;
        client_send(fd, CALL("GetUsage"));
        finish_wait();
        assert_true(strstr(client_receive(fd, NULL), "cgroupHeadroom"));
}

static void test_usage(void **state) {
        _cleanup_close_ int fd = client_connect();
        (void) state;

        client_send(fd, CALL("GetUsage"));
        assert_received(fd, ""); /* until the census is over */
        finish_wait();
        assert_received(fd,
                        "{\"parameters\":{\"client\":{\"bytesUsed\":0,\"bytesMax\":1,\"buffersUsed\":0,\"buffersMax\":"
                        "2},"
                        "\"user\":{\"bytesUsed\":0,\"bytesMax\":3,\"buffersUsed\":0},\"heaps\":[],\"cgroupHeadroom\":4}"
                        "}");
        client_ask(fd,
                        "{\"method\":\"io.dmaheapd.Allocator.GetUsage\",\"parameters\":{\"nonsense\":1}}",
                        INVALID_PARAMETER("nonsense"));
}

static void test_for_root_only(void **state) {
        static const uint8_t boot[16] = "this boot";
        LedgerEntry entry = { .owner = &t.client.identity, .heap = "system" };
        _cleanup_free_ char *set_aside = NULL;
        _cleanup_close_ int fd = client_connect();
        (void) state;

        t.peer.identity.uid = 1;
        client_ask(fd, CALL("ListClients"), PERMISSION_DENIED);
        client_ask(fd, CALL("ListBuffers"), PERMISSION_DENIED);
        assert_null(t.waits);

        t.peer.identity.uid = 0;
        client_send(fd, CALL("ListClients"));
        finish_wait();
        assert_received(fd, "{\"parameters\":{\"clients\":[]}}");

        t.client.identity.cgroup = (char *) "/a";
        assert_int_equal(ledger_open(-EBADF, boot, &t.ledger, &set_aside), 0);
        assert_int_equal(ledger_add(t.ledger, &entry, &(LedgerBuffer) { .inode = 7, .size = 4096 }, 1, NULL), 0);
        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.ListBuffers\",\"parameters\":{\"uid\":0,\"unit\":null}}");
        finish_wait();
        assert_received(fd,
                        "{\"parameters\":{\"buffers\":[{\"id\":7,\"size\":4096,\"heap\":\"system\",\"cgroup\":\"/a\","
                        "\"uid\":0,\"user\":0,\"allocatedUSec\":0}]}}");
        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.ListBuffers\",\"parameters\":{\"uid\":1}}");
        finish_wait();
        assert_received(fd, "{\"parameters\":{\"buffers\":[]}}");
        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.ListBuffers\",\"parameters\":{\"unit\":\"a.service\"}}");
        finish_wait();
        assert_received(fd, "{\"parameters\":{\"buffers\":[]}}");
        t.ledger = ledger_free(t.ledger);
}

/* Nothing is begun for a call that wants no reply, and the next call is answered. */
static void test_oneway(void **state) {
        _cleanup_close_ int fd = client_connect();
        (void) state;

        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.Allocate\",\"parameters\":{\"size\":1},\"oneway\":true}");
        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.ListHeaps\",\"oneway\":true}");
        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.GetUsage\",\"oneway\":true}");
        assert_null(t.request);
        assert_null(t.waits);
        assert_received(fd, "");
        t.peer.identity.uid = 1;
        client_ask(fd, CALL("ListClients"), PERMISSION_DENIED);
}

#define LIST(heaps) "{\"parameters\":{\"heaps\":[" heaps "]}}"
#define LIST_MORE(heaps) "{\"parameters\":{\"heaps\":[" heaps "]},\"continues\":true}"
#define UDMABUF "{\"name\":\"udmabuf\",\"state\":\"ready\",\"roles\":[],\"accounting\":\"kernel\",\"used\":0}"

static void heaps_changed(void) {
        t.on_heaps_changed(t.on_heaps_changed_userdata);
        loop_settle(t.manager.event);
}

static void test_list_heaps(void **state) {
        _cleanup_close_ int fd = client_connect();
        (void) state;

        client_send(fd, CALL("ListHeaps"));
        assert_int_equal(t.n_scans, 1);
        finish_wait(); /* of the scan */
        assert_received(fd, "");
        finish_wait(); /* of the census */
        assert_received(fd, LIST(""));
        heaps_changed(); /* nobody has subscribed */
        assert_received(fd, "");

        t.scan_is_recent = true;
        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.ListHeaps\",\"more\":true}");
        assert_int_equal(t.n_scans, 1);
        heaps_changed(); /* before the first list */
        assert_received(fd, "");
        finish_wait();
        assert_received(fd, LIST_MORE(""));

        assert_int_equal(heap_registry_appeared(&t.manager.heaps, HEAP_UDMABUF), 0);
        heaps_changed();
        assert_received(fd, LIST_MORE(UDMABUF));
}

/* Makes a list of the heaps of some 100 KiB. */
static void add_many_heaps(void) {
        char name[65];

        for (unsigned i = 0; i < 800; i++) {
                (void) snprintf(name, sizeof(name), "a-heap-with-a-rather-long-name-so-that-a-list-is-long-too-%u", i);
                assert_int_equal(heap_registry_appeared(&t.manager.heaps, name), 0);
        }
}

/* A subscriber that does not read is sent no more lists than its socket takes, and the latest one once it has read. */
static void test_subscriber_that_does_not_read(void **state) {
        _cleanup_close_ int slow = client_connect(), quick = client_connect();
        unsigned n_slow = 1;
        (void) state;

        t.scan_is_recent = true;
        add_many_heaps();
        client_send(slow, "{\"method\":\"io.dmaheapd.Allocator.ListHeaps\",\"more\":true}");
        finish_wait();
        client_send(quick, "{\"method\":\"io.dmaheapd.Allocator.ListHeaps\",\"more\":true}");
        finish_wait();
        assert_true(strlen(client_receive(quick, NULL)) > 65536);

        for (unsigned i = 0; i < 40; i++) {
                heap_registry_find(&t.manager.heaps, "a-heap-with-a-rather-long-name-so-that-a-list-is-long-too-0")
                                ->bytes_used = 1 + i;
                heaps_changed();
                for (bool whole = false; !whole;) {
                        whole = strstr(client_receive(quick, NULL), "continues") != NULL;
                        loop_settle(t.manager.event);
                }
        }

        uint64_t deadline = now_usec() + LOOP_DEADLINE_USEC;
        for (;;) {
                const char *list = client_receive(slow, NULL);

                assert_true(now_usec() < deadline);
                if (strstr(list, "\"used\":40"))
                        break;
                n_slow += strstr(list, "continues") != NULL;
                assert_true(sd_event_run(t.manager.event, 100 * USEC_PER_MSEC) >= 0);
        }
        assert_true(n_slow < 10);
}

/* Fills the connection with answers that the client does not read. */
static void leave_unread(int fd, unsigned n) {
        for (unsigned i = 0; i < n; i++)
                client_send(fd,
                                "{\"method\":\"org.varlink.service.GetInterfaceDescription\",\"parameters\":"
                                "{\"interface\":\"io.dmaheapd.Allocator\"}}");
}

static void test_client_that_does_not_read(void **state) {
        _cleanup_close_ int fd = client_connect();
        unsigned n = 0;
        (void) state;

        /* It gets no fds, which sd-varlink would keep for it. */
        leave_unread(fd, 30);
        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.Allocate\",\"parameters\":{\"size\":1}}");
        assert_null(t.request);
        assert_int_equal(t.n_connections, 1);
        for (const char *reply = ""; !strstr(reply, OUT_OF_RESOURCES("inFlight")); n++) {
                reply = client_receive(fd, NULL);
                loop_settle(t.manager.event);
        }
        assert_in_range(n, 31, 100); /* a message may be received in parts */

        /* It may leave answers to some calls unread, but not to all that it likes. */
        leave_unread(fd, 30);
        assert_int_equal(t.n_connections, 1);
        for (unsigned i = 0; i < 200 && t.n_connections > 0; i++) {
                char call[] = CALL("ListClients");

                (void) send(fd, call, sizeof(call), MSG_NOSIGNAL | MSG_DONTWAIT);
                loop_settle(t.manager.event);
        }
        assert_int_equal(t.n_connections, 0);
}

static void test_disconnect(void **state) {
        int fd = client_connect();
        (void) state;

        client_send(fd, "{\"method\":\"io.dmaheapd.Allocator.Allocate\",\"parameters\":{\"size\":1}}");
        assert_non_null(t.request);
        close(fd);
        loop_settle(t.manager.event);
        assert_int_equal(t.n_cancelled, 1);
        assert_int_equal(t.n_connections, 0);

        fd = client_connect();
        client_send(fd, CALL("GetUsage"));
        assert_non_null(t.waits);
        close(fd);
        loop_settle(t.manager.event);
        assert_null(t.waits);

        /* The daemon ends while calls wait. */
        _cleanup_close_ int a = client_connect(), b = client_connect();
        client_send(a, "{\"method\":\"io.dmaheapd.Allocator.Allocate\",\"parameters\":{\"size\":1}}");
        client_send(b, CALL("GetUsage"));
        end();
        assert_int_equal(t.n_cancelled, 2);
        assert_null(t.waits);
        assert_int_equal(t.n_connections, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_allocate, setup, teardown),
                cmocka_unit_test_setup_teardown(test_allocate_refused, setup, teardown),
                cmocka_unit_test_setup_teardown(test_errors_of_varlink, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_admitted, setup, teardown),
                cmocka_unit_test_setup_teardown(test_usage, setup, teardown),
                cmocka_unit_test_setup_teardown(test_for_root_only, setup, teardown),
                cmocka_unit_test_setup_teardown(test_oneway, setup, teardown),
                cmocka_unit_test_setup_teardown(test_list_heaps, setup, teardown),
                cmocka_unit_test_setup_teardown(test_subscriber_that_does_not_read, setup, teardown),
                cmocka_unit_test_setup_teardown(test_client_that_does_not_read, setup, teardown),
                cmocka_unit_test_setup_teardown(test_disconnect, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
