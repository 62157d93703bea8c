/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "limits/identity.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

/* The process at the other end of one connection, identified once, when the connection was made.
 *
 * Credentials are those at connect(2) (SO_PEERCRED, SO_PEERGROUPS; unix(7)), so that a set-user-ID program that the
 * peer executes later changes nothing. Unit, user and control group are those of the peer's process when peer_new()
 * asked. */
typedef struct Peer {
        Identity identity;
        gid_t *groups; /* the primary one and the supplementary ones */
        size_t n_groups;
        int cgroup_fd; /* directory of its control group, open for reading */
} Peer;

Peer *peer_free(Peer *peer);
DEFINE_CLEANUP(Peer, peer_free);

/* Identifies the peer of a connected AF_UNIX socket.
 *
 * cgroup_root_fd: the root of the cgroup file system (cgroup v2, at CGROUP_ROOT). Rests on SO_PEERPIDFD (Linux 6.5)
 * and PIDFD_GET_INFO (6.13; before that on /proc/PID/cgroup, read between two checks that the pidfd is alive).
 *
 * Returns 0 and the caller's Peer, or -errno: -ESRCH when the process is gone. */
int peer_new(int cgroup_root_fd, int socket_fd, Peer **ret);
