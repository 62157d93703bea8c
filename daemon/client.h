/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <sys/types.h>

#include "macro.h"
#include "memory-cgroup.h"
#include "quota.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

/* Who is at the other end of one connection, found out once, when it was made.
 *
 * Credentials are those at connect(2) (SO_PEERCRED, SO_PEERGROUPS; unix(7)), so that a set-user-ID program that the peer
 * executes later changes nothing. Unit, owner and control group are those of the peer's process when it was asked. */
typedef struct Peer {
        uid_t uid;
        gid_t gid;
        gid_t *groups; /* the primary one and the supplementary ones */
        size_t n_groups;
        uid_t user;          /* owner of the enclosing user slice, else uid */
        char *unit;          /* innermost systemd unit, or NULL */
        bool user_unit;      /* the unit belongs to a user's manager: its name says nothing to the administrator */
        char *cgroup;        /* path from the root of the hierarchy: "/system.slice/camera.service" */
        CgroupIds cgroup_ids; /* of the control group and its ancestors */
        int cgroup_fd;        /* its directory, open for reading */
} Peer;

Peer *peer_free(Peer *peer);
DEFINE_CLEANUP(Peer, peer_free);

/* Identifies the peer of a connected AF_UNIX socket.
 *
 * cgroup_root_fd: the root of the cgroup file system (cgroup v2, at CGROUP_ROOT).
 * Rests on SO_PEERPIDFD (Linux 6.5) and PIDFD_GET_INFO (6.13; before that on /proc/PID/cgroup, read between two checks that
 * the pidfd is alive).
 *
 * Returns 0 and the caller's Peer, or -errno: -ESRCH when the process is gone. */
int peer_new(int cgroup_root_fd, int socket_fd, Peer **ret);

/* Whom bytes count for beside the client: the owner of its user slice, or its uid. */
typedef struct User User;
struct User {
        User *next;
        uid_t uid;
        QuotaAccount account;
        unsigned n_clients;
};

/* A client: all connections of one (unit, uid); where there is no unit, of one (control group, uid). It outlives its
 * connections for as long as it holds a buffer, and the daemon's restarts by way of the ledger. */
typedef struct Client Client;
struct Client {
        Client *next;
        char *unit;
        bool user_unit;
        char *cgroup; /* of the connection, or the buffer, that was first */
        uint64_t cgroup_id;
        uid_t uid;
        User *user;
        QuotaAccount account;
        QuotaShares shares; /* of the budgets of heaps */
        unsigned n_connections;
        unsigned n_admitted; /* of them, those within the limits on connections */
};

/* What makes a client; everything is borrowed. */
typedef struct ClientKey {
        const char *unit; /* or NULL */
        bool user_unit;
        const char *cgroup;
        uint64_t cgroup_id;
        uid_t uid;
        uid_t user;
} ClientKey;

/* The clients that the daemon knows: those that are connected, and those that hold something. */
typedef struct ClientRegistry {
        Client *clients;
        User *users;
} ClientRegistry;

/* Asserts that nobody holds anything any more. */
void client_registry_done(ClientRegistry *registry);

/* Finds a client, or adds it. Who gets one owes a client_registry_release(). Returns 0 or -ENOMEM. */
int client_registry_get(ClientRegistry *registry, const ClientKey *key, Client **ret);

/* Forgets the client if it has no connection and holds nothing. */
void client_registry_release(ClientRegistry *registry, Client *client);
