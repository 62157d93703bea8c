/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "clients/client.h"
#include "clients/peer.h"

/* One open connection of a client. All zeroes is none. */
typedef struct Connection {
        Peer *peer;     /* owned */
        Client *client; /* stays at least until connection_close() */
        bool admitted;  /* counted against ConnectionsMax= and ConnectionsPerUserMax= */
} Connection;

/* Identifies the peer of a connected socket, and counts the connection for its client; see peer_new() for
 * cgroup_root_fd.
 *
 * Returns 0; the caller owes a connection_close(). Or -errno: -ESRCH when the peer has gone already. */
int connection_open(ClientRegistry *clients, int cgroup_root_fd, int socket_fd, Connection *ret);

/* Counts the connection against the limits on connections: `max` for all, `per_user_max` for those of its user.
 *
 * True: it is admitted, until it is closed. False: a limit is reached, and the call may be repeated. */
bool connection_admit(Connection *connection, const ClientRegistry *clients, unsigned max, unsigned per_user_max);

/* Ends a connection and leaves all zeroes. The client may be gone when this returns. */
void connection_close(Connection *connection, ClientRegistry *clients);
