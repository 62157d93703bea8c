/* SPDX-License-Identifier: GPL-2.0-only */

/* Which connections are of one client, which clients are of one user, how long the registry keeps them, and how
 * identifying a peer fails. */

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "clients/client.h"
#include "clients/peer.h"
#include "unit.h"
#include "util/fd-util.h"

static Client *get(ClientRegistry *registry, const char *unit, bool unit_is_user, uint64_t cgroup_id, uid_t uid,
                uid_t user) {
        const Identity identity = {
                .unit = (char *) unit,
                .unit_is_user = unit_is_user,
                .cgroup = (char *) "/somewhere",
                .cgroup_ids = { { cgroup_id, 1 }, 2 },
                .uid = uid,
                .user = user,
        };
        Client *client = NULL;

        assert_int_equal(client_registry_get(registry, &identity, &client), 0);
        client->n_connections++;
        return client;
}

static void put(ClientRegistry *registry, Client *client) {
        client->n_connections--;
        client_registry_release(registry, client);
}

/* The key of a client with a unit is (unit, kind of manager, user, uid). Its control group is not a part of it. */
static void test_same_unit(void **state) {
        ClientRegistry registry = {};
        Client *camera = get(&registry, "camera.service", false, 7, 1000, 1000), *other;
        (void) state;

        assert_ptr_equal(get(&registry, "camera.service", false, 8, 1000, 1000), camera);
        assert_int_equal(camera->n_connections, 2);
        put(&registry, camera);

        const struct {
                const char *unit;
                bool unit_is_user;
                uid_t uid, user;
        } others[] = {
                { "camera2.service", false, 1000, 1000 },
                { "camera.service", true, 1000, 1000 },
                { "camera.service", false, 1001, 1000 },
                { "camera.service", false, 1000, 1001 },
                { NULL, false, 1000, 1000 },
        };
        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                other = get(&registry, others[i].unit, others[i].unit_is_user, 7, others[i].uid, others[i].user);
                if (other == camera)
                        fail_msg("row %zu is taken for camera.service", i);
                put(&registry, other);
        }

        put(&registry, camera);
        client_registry_done(&registry);
}

/* The key of a client without a unit is (control group, uid). */
static void test_same_cgroup(void **state) {
        ClientRegistry registry = {};
        Client *bare = get(&registry, NULL, false, 7, 1000, 1000), *other;
        (void) state;

        assert_ptr_equal(get(&registry, NULL, false, 7, 1000, 1000), bare);
        put(&registry, bare);
        other = get(&registry, NULL, false, 8, 1000, 1000);
        assert_ptr_not_equal(other, bare);
        put(&registry, other);
        other = get(&registry, NULL, false, 7, 1001, 1000);
        assert_ptr_not_equal(other, bare);
        put(&registry, other);
        other = get(&registry, "a.service", false, 7, 1000, 1000);
        assert_ptr_not_equal(other, bare);
        put(&registry, other);

        put(&registry, bare);
        client_registry_done(&registry);
}

/* Clients of one user share its account, which is freed with the last of them. */
static void test_users(void **state) {
        ClientRegistry registry = {};
        Client *a = get(&registry, "a.service", false, 1, 33, 1000),
               *b = get(&registry, "b.service", false, 2, 34, 1000);
        Client *c = get(&registry, "c.service", false, 3, 33, 33);
        (void) state;

        assert_ptr_equal(a->user, b->user);
        assert_ptr_not_equal(a->user, c->user);
        assert_int_equal(a->user->uid, 1000);
        assert_int_equal(a->user->n_clients, 2);

        put(&registry, a);
        assert_int_equal(b->user->n_clients, 1);
        put(&registry, c);
        assert_ptr_equal(registry.users, b->user);
        assert_null(registry.users->next);
        put(&registry, b);
        assert_null(registry.users);
        assert_null(registry.clients);
}

/* A client is kept for a connection, for bytes, and for buffers. */
static void test_release(void **state) {
        ClientRegistry registry = {};
        Client *client = get(&registry, "a.service", false, 1, 1, 1);
        QuotaCharge charge = {};
        (void) state;

        client_registry_release(&registry, client);
        assert_ptr_equal(registry.clients, client);

        for (uint64_t bytes = 0; bytes <= 1; bytes++) {
                QuotaDemand demand = {
                        .account = &client->account, .bytes_max = LIMIT_INFINITY, .buffers_max = LIMIT_INFINITY
                };

                assert_int_equal(quota_reserve(&charge, &demand, 1, bytes, 1 - bytes, NULL), 0);
                client->n_connections = 0;
                client_registry_release(&registry, client);
                assert_ptr_equal(registry.clients, client);
                quota_uncharge(&charge);
                client->n_connections = 1;
        }

        put(&registry, client);
        assert_null(registry.clients);
}

/* A client is removed from any place in the list, and the others stay in it. */
static void test_list(void **state) {
        ClientRegistry registry = {};
        Client *clients[3];
        (void) state;

        for (unsigned removed = 0; removed < 3; removed++) {
                for (unsigned i = 0; i < 3; i++)
                        clients[i] = get(&registry, NULL, false, i + 1, 1, i);
                put(&registry, clients[removed]);
                for (unsigned i = 0; i < 3; i++)
                        if (i != removed) {
                                assert_ptr_equal(get(&registry, NULL, false, i + 1, 1, i), clients[i]);
                                assert_int_equal(clients[i]->user->uid, i);
                                put(&registry, clients[i]);
                                put(&registry, clients[i]);
                        }
                assert_null(registry.clients);
                assert_null(registry.users);
        }
}

/* A peer that has exited and was reaped cannot be identified any more. */
static void test_peer_gone(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        socklen_t size = sizeof(sa_family_t); /* the kernel chooses an abstract name */
        Peer *peer = NULL;
        int status;
        (void) state;

        _cleanup_close_ int listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(listen_fd >= 0);
        assert_int_equal(bind(listen_fd, (struct sockaddr *) &address, size), 0);
        assert_int_equal(listen(listen_fd, 1), 0);
        size = sizeof(address);
        assert_int_equal(getsockname(listen_fd, (struct sockaddr *) &address, &size), 0);

        pid_t pid = fork();
        if (pid == 0) {
                int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

                _exit(fd >= 0 && connect(fd, (struct sockaddr *) &address, size) >= 0 ? EXIT_SUCCESS : EXIT_FAILURE);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);

        _cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(peer_new(-EBADF, fd, &peer), -ESRCH);
        assert_null(peer);
}

static void test_peer_not_a_socket(void **state) {
        int fds[2];
        Peer *peer = NULL;
        (void) state;

        assert_int_equal(pipe(fds), 0);
        assert_int_equal(peer_new(-EBADF, fds[0], &peer), -ENOTSOCK);
        assert_null(peer);
        safe_close(fds[0]);
        safe_close(fds[1]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_same_unit),
                cmocka_unit_test(test_same_cgroup),
                cmocka_unit_test(test_users),
                cmocka_unit_test(test_release),
                cmocka_unit_test(test_list),
                cmocka_unit_test(test_peer_gone),
                cmocka_unit_test(test_peer_not_a_socket),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
