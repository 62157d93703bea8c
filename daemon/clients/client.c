/* SPDX-License-Identifier: GPL-2.0-only */

/* The clients and users that the daemon knows. A client stays in the registry exactly as long as it has a connection
 * or its account holds something, and a user as long as it has a client: nothing of a client is left when it is
 * gone, and its address is good for as long as anything is charged to it. */

#include "clients/client.h"
#include "util/list.h"

static Client *client_free(Client *client) {
        if (!client)
                return NULL;

        quota_account_done(&client->account);
        quota_shares_done(&client->shares);
        identity_done(&client->identity);
        free(client);
        return NULL;
}
DEFINE_CLEANUP(Client, client_free);

static int get_user(ClientRegistry *registry, uid_t uid, User **ret) {
        User *user;

        for (user = registry->users; user; user = user->next)
                if (user->uid == uid)
                        break;

        if (!user) {
                user = calloc(1, sizeof(User));
                if (!user)
                        return -ENOMEM;

                user->uid = uid;
                LIST_PREPEND(registry->users, user);
        }

        *ret = user;
        return 0;
}

static void user_release(ClientRegistry *registry, User *user) {
        if (user->n_clients > 0)
                return;

        (void) LIST_REMOVE(registry->users, user);
        quota_account_done(&user->account);
        free(user);
}

static void remove_client(ClientRegistry *registry, Client *client) {
        (void) LIST_REMOVE(registry->clients, client);
        client->user->n_clients--;
        user_release(registry, client->user);
        client_free(client);
}

void client_registry_done(ClientRegistry *registry) {
        while (registry->clients)
                remove_client(registry, registry->clients);
}

int client_registry_get(ClientRegistry *registry, const Identity *identity, Client **ret) {
        int r;

        for (Client *client = registry->clients; client; client = client->next)
                if (identity_is_same_client(&client->identity, identity)) {
                        *ret = client;
                        return 0;
                }

        _cleanup_(client_freep) Client *client = calloc(1, sizeof(Client));
        if (!client)
                return -ENOMEM;

        r = identity_copy(identity, &client->identity);
        if (r < 0)
                return r;

        r = get_user(registry, identity->user, &client->user);
        if (r < 0)
                return r;
        client->user->n_clients++;

        LIST_PREPEND(registry->clients, client);
        *ret = TAKE_PTR(client);
        return 0;
}

void client_registry_release(ClientRegistry *registry, Client *client) {
        if (client->n_connections == 0 && client->account.bytes == 0 && client->account.buffers == 0)
                remove_client(registry, client);
}
