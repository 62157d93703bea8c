/* SPDX-License-Identifier: GPL-2.0-only */

/* A connection joins the peer of a socket to the client that it belongs to. Invariant: a client's n_connections and
 * n_admitted are the numbers of its connections that are open and that are admitted, so that the client stays while one
 * is open. */

#include "clients/connection.h"

int connection_open(ClientRegistry *clients, int cgroup_root_fd, int socket_fd, Connection *ret) {
        _cleanup_(peer_freep) Peer *peer = NULL;
        Client *client;
        int r;

        r = peer_new(cgroup_root_fd, socket_fd, &peer);
        if (r < 0)
                return r;

        r = client_registry_get(clients, &peer->identity, &client);
        if (r < 0)
                return r;

        client->n_connections++;
        *ret = (Connection) { .peer = TAKE_PTR(peer), .client = client };
        return 0;
}

bool connection_admit(Connection *connection, const ClientRegistry *clients, unsigned max, unsigned per_user_max) {
        unsigned n = 0, n_of_user = 0;

        if (connection->admitted)
                return true;

        for (const Client *client = clients->clients; client; client = client->next) {
                n += client->n_admitted;
                if (client->user == connection->client->user)
                        n_of_user += client->n_admitted;
        }

        if (n >= max || n_of_user >= per_user_max)
                return false;

        connection->client->n_admitted++;
        connection->admitted = true;
        return true;
}

void connection_close(Connection *connection, ClientRegistry *clients) {
        Client *client = connection->client;

        if (!client)
                return;

        if (connection->admitted)
                client->n_admitted--;
        client->n_connections--;
        client_registry_release(clients, client);
        peer_free(connection->peer);
        *connection = (Connection) {};
}
