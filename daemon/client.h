/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <sys/types.h>

#include "macro.h"

/* Who is at the other end of one connection, found out once, when it was made.
 *
 * Credentials are those at connect(2) (SO_PEERCRED, SO_PEERGROUPS; unix(7)), so that a set-user-ID program that the peer
 * executes later changes nothing. Unit, owner and control group are those of the peer's process when it was asked. */
typedef struct Peer {
        uid_t uid;
        gid_t gid;
        gid_t *groups; /* supplementary groups */
        size_t n_groups;
        uid_t user;          /* owner of the enclosing user slice, else uid */
        char *unit;          /* innermost systemd unit, or NULL */
        bool user_unit;      /* the unit belongs to a user's manager: its name says nothing to the administrator */
        char *cgroup;        /* path from the root of the hierarchy: "/system.slice/camera.service" */
        uint64_t cgroup_id;  /* inode number of the control group's directory, never reused */
        int cgroup_fd;       /* that directory, O_PATH-free: files below it can be opened with openat(2) */
} Peer;

Peer *peer_free(Peer *peer);
DEFINE_CLEANUP(Peer, peer_free);

/* Identifies the peer of a connected AF_UNIX socket.
 *
 * Rests on SO_PEERPIDFD (Linux 6.5) and PIDFD_GET_INFO (6.13; before that on /proc/PID/cgroup, read between two checks that
 * the pidfd is alive).
 *
 * Returns 0 and the caller's Peer, or -errno: -ESRCH when the process is gone. */
int peer_new(int socket_fd, Peer **ret);

/* A client: all connections of one (unit, uid); where there is no unit, of one (control group, uid). */
typedef struct Client Client;
struct Client {
        Client *next;
        char *unit;
        bool user_unit;
        char *cgroup; /* of the connection that was first */
        uid_t uid;
        uid_t user;
        unsigned n_connections;
};

/* The clients that the daemon knows: those with a connection. */
typedef struct ClientRegistry {
        Client *clients;
} ClientRegistry;

void client_registry_done(ClientRegistry *registry);

/* Finds the client that a peer is part of, or adds it, and counts one connection more. Returns 0 or -ENOMEM. */
int client_registry_connect(ClientRegistry *registry, const Peer *peer, Client **ret);

/* Counts one connection less; the client is forgotten with its last one. Returns true if this was the last. */
bool client_registry_disconnect(ClientRegistry *registry, Client *client);
