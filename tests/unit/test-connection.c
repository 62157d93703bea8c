/* SPDX-License-Identifier: GPL-2.0-only */

/* How connections are admitted and closed. Peers are not identified here: that takes a control group of systemd. */

#include "clients/connection.h"
#include "unit.h"

/* A connection of a user's unit. */
static Connection connection_of(ClientRegistry *clients, const char *unit, uid_t uid) {
        const Identity identity = { .unit = (char *) unit, .cgroup = (char *) "/", .uid = uid, .user = uid };
        Connection connection = { .peer = calloc(1, sizeof(Peer)) };

        assert_non_null(connection.peer);
        connection.peer->cgroup_fd = -EBADF;
        assert_int_equal(client_registry_get(clients, &identity, &connection.client), 0);
        connection.client->n_connections++;
        return connection;
}

static void test_limits(void **state) {
        ClientRegistry clients = {};
        Connection a = connection_of(&clients, "a.service", 1), a2 = connection_of(&clients, "a.service", 1);
        Connection b = connection_of(&clients, "b.service", 1), c = connection_of(&clients, "c.service", 2);
        (void) state;

        /* The last one for the user, over all its clients, and one more. */
        assert_true(connection_admit(&a, &clients, 3, 2));
        assert_true(connection_admit(&b, &clients, 3, 2));
        assert_false(connection_admit(&a2, &clients, 3, 2));
        assert_false(a2.admitted);

        /* Being asked again counts nothing. */
        assert_true(connection_admit(&a, &clients, 3, 2));
        assert_int_equal(a.client->n_admitted, 1);

        /* The last one of all, and one more. */
        assert_true(connection_admit(&c, &clients, 3, 2));
        assert_false(connection_admit(&a2, &clients, 3, 3));
        assert_true(connection_admit(&a2, &clients, 4, 3));
        assert_int_equal(a.client->n_admitted, 2);

        /* An admitted one stays so when the limits are lowered. */
        assert_true(connection_admit(&a, &clients, 0, 0));

        connection_close(&a, &clients);
        connection_close(&a2, &clients);
        connection_close(&b, &clients);
        connection_close(&c, &clients);
        assert_null(clients.clients);
        client_registry_done(&clients);
}

static void test_close(void **state) {
        ClientRegistry clients = {};
        Connection a = connection_of(&clients, "a.service", 1), a2 = connection_of(&clients, "a.service", 1);
        Client *client = a.client;
        (void) state;

        /* The place is free again. */
        assert_true(connection_admit(&a, &clients, 1, 1));
        assert_false(connection_admit(&a2, &clients, 1, 1));
        connection_close(&a, &clients);
        assert_null(a.client);
        assert_null(a.peer);
        assert_int_equal(client->n_connections, 1);
        assert_true(connection_admit(&a2, &clients, 1, 1));

        /* One that was not admitted takes none with it. */
        a = connection_of(&clients, "a.service", 1);
        connection_close(&a, &clients);
        assert_int_equal(client->n_admitted, 1);

        connection_close(&a2, &clients);
        assert_null(clients.clients);
        assert_null(clients.users);

        connection_close(&a2, &clients); /* none */
        client_registry_done(&clients);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_close),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
