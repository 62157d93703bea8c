/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "limits/identity.h"
#include "limits/quota.h"

/* A user that clients count for: the owner of their user slice, or their uid. */
typedef struct User User;
struct User {
        User *next;
        uid_t uid;
        QuotaAccount account;
        unsigned n_clients;
};

/* All connections of one unit and uid, or, without a unit, of one control group and uid: see
 * identity_is_same_client(). A client outlives its connections for as long as it holds a buffer, and the daemon's
 * restarts by way of the ledger. */
typedef struct Client Client;
struct Client {
        Client *next;
        Identity identity; /* of the connection, or of the record in the ledger, that was first */
        User *user;
        QuotaAccount account;
        QuotaShares shares; /* one for each Budget that it has used */
        unsigned n_connections;
        unsigned n_admitted; /* of them, those within the limits on connections */
};

/* The clients that are connected or hold something, and their users. All zeroes is empty. */
typedef struct ClientRegistry {
        Client *clients;
        User *users;
} ClientRegistry;

/* Frees all clients and users; asserts that nobody holds anything any more. */
void client_registry_done(ClientRegistry *registry);

/* Finds a client, or adds one with a copy of the identity. Every call is to be followed by a
 * client_registry_release() in the end. Returns 0 or -ENOMEM. */
int client_registry_get(ClientRegistry *registry, const Identity *identity, Client **ret);

/* Frees the client if it has no connection and holds nothing, and its user if that was its last client. */
void client_registry_release(ClientRegistry *registry, Client *client);
