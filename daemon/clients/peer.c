/* SPDX-License-Identifier: GPL-2.0-only */

/* Finds out who is at the other end of a socket. Credentials come from the socket, which took them at connect();
 * unit and control group come from the process, by a pidfd. A pid may be reused, a pidfd is not: what was read by
 * pid counts only if the pidfd is found alive afterwards, so a Peer never describes another process that got the
 * number. */

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-login.h>

#include "clients/peer.h"
#include "limits/memory-cgroup.h"
#include "util/fd-util.h"
#include "util/utf8.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* PIDFD_GET_INFO of Linux 6.13, with the first version of its structure, for the control group's id. The header,
 * include/uapi/linux/pidfd.h, cannot be included beside fcntl.h. */
struct pidfd_info_v0 {
        uint64_t mask;
        uint64_t cgroupid;
        uint32_t rest[12];
};
_Static_assert(sizeof(struct pidfd_info_v0) == 64, "the kernel knows the structure by its size");
#define PIDFD_GET_INFO_V0 _IOWR(0xFF, 11, struct pidfd_info_v0)
#define PIDFD_INFO_CGROUPID_BIT (UINT64_C(1) << 2)

/* The type of a cgroup's file handle, which holds the 64-bit id (FILEID_KERNFS of include/linux/exportfs.h). */
#define FILEID_KERNFS_TYPE 0xfe

Peer *peer_free(Peer *peer) {
        if (!peer)
                return NULL;

        free(peer->groups);
        identity_done(&peer->identity);
        safe_close(peer->cgroup_fd);
        free(peer);
        return NULL;
}

/* Reads the supplementary groups, and puts the primary one at their end. */
static int get_groups(int socket_fd, gid_t primary, gid_t **ret, size_t *ret_n) {
        socklen_t size = 64 * sizeof(gid_t);

        for (;;) {
                _cleanup_free_ gid_t *groups = malloc(size + sizeof(gid_t));
                if (!groups)
                        return -ENOMEM;

                socklen_t room = size;
                if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) >= 0) {
                        size_t n = size / sizeof(gid_t);

                        groups[n] = primary;
                        *ret = TAKE_PTR(groups);
                        *ret_n = n + 1;
                        return 0;
                }

                /* ERANGE: size is now what the kernel needs. */
                if (errno != ERANGE || size <= room)
                        return -errno;
        }
}

/* Returns 0 if the process lives, -ESRCH if it has exited, whether or not it has been reaped. */
static int pidfd_check_alive(int pidfd) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        if (poll(&p, 1, 0) < 0)
                return -errno;

        return p.revents == 0 ? 0 : -ESRCH;
}

static int open_cgroup_by_id(int cgroup_root_fd, uint64_t id) {
        union {
                struct file_handle handle;
                uint8_t room[sizeof(struct file_handle) + sizeof(id)];
        } u = {
                .handle.handle_bytes = sizeof(id),
                .handle.handle_type = FILEID_KERNFS_TYPE,
        };
        memcpy(u.handle.f_handle, &id, sizeof(id));

        int fd = open_by_handle_at(cgroup_root_fd, &u.handle, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

/* For kernels before 6.13. The pid that is looked up is the peer's for as long as the pidfd is alive. */
static int open_cgroup_by_pid(int pidfd) {
        char path[PATH_MAX];
        _cleanup_free_ char *cgroup = NULL;
        int r;

        r = pidfd_check_alive(pidfd);
        if (r < 0)
                return r;

        r = sd_pidfd_get_cgroup(pidfd, &cgroup);
        if (r < 0)
                return r;

        if ((size_t) snprintf(path, sizeof(path), "%s%s", CGROUP_ROOT, cgroup) >= sizeof(path))
                return -ENAMETOOLONG;

        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;

        r = pidfd_check_alive(pidfd);
        if (r < 0)
                return r;

        return TAKE_FD(fd);
}

static int open_cgroup(int cgroup_root_fd, int pidfd) {
        struct pidfd_info_v0 info = { .mask = PIDFD_INFO_CGROUPID_BIT };

        if (ioctl(pidfd, PIDFD_GET_INFO_V0, &info) < 0) {
                if (errno == ESRCH)
                        return -ESRCH;

                return open_cgroup_by_pid(pidfd); /* ENOTTY or EINVAL: the kernel has no PIDFD_GET_INFO */
        }

        if (!(info.mask & PIDFD_INFO_CGROUPID_BIT))
                return open_cgroup_by_pid(pidfd);

        return open_cgroup_by_id(cgroup_root_fd, info.cgroupid);
}

static int get_unit(int pidfd, char **ret, bool *ret_is_user) {
        int r;

        /* A unit of a user's manager is inside the user@.service of that manager, so it is looked for first. */
        r = sd_pidfd_get_user_unit(pidfd, ret);
        if (r >= 0) {
                *ret_is_user = true;
                return 0;
        }
        if (r != -ENODATA)
                return r;

        *ret_is_user = false;
        r = sd_pidfd_get_unit(pidfd, ret);
        return r == -ENODATA ? 0 : r;
}

/* Reads what the socket knows. */
static int read_credentials(Peer *peer, int socket_fd) {
        struct ucred ucred;
        socklen_t size = sizeof(ucred);

        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &ucred, &size) < 0)
                return -errno;

        peer->identity.uid = ucred.uid;
        return get_groups(socket_fd, ucred.gid, &peer->groups, &peer->n_groups);
}

/* Reads what only the process knows. */
static int read_process(Peer *peer, int cgroup_root_fd, int pidfd) {
        Identity *identity = &peer->identity;
        int r;

        peer->cgroup_fd = open_cgroup(cgroup_root_fd, pidfd);
        if (peer->cgroup_fd < 0)
                return peer->cgroup_fd;

        r = get_unit(pidfd, &identity->unit, &identity->unit_is_user);
        if (r < 0)
                return r;

        r = sd_pidfd_get_owner_uid(pidfd, &identity->user);
        if (r == -ENODATA)
                identity->user = identity->uid;
        else if (r < 0)
                return r;

        /* If the process has exited, its pid may have been reused, and the unit and the owner be another process's. */
        return pidfd_check_alive(pidfd);
}

/* Finds out the ids and the path of the control group that was opened. */
static int read_cgroup(Peer *peer, int cgroup_root_fd) {
        _cleanup_free_ char *path = NULL;
        int r;

        r = cgroup_ids_read(cgroup_root_fd, peer->cgroup_fd, &peer->identity.cgroup_ids);
        if (r < 0)
                return r;

        r = fd_get_path(peer->cgroup_fd, &path);
        if (r < 0)
                return r;
        if (!startswith(path, CGROUP_ROOT))
                return -EXDEV;

        const char *cgroup = path + strlen(CGROUP_ROOT);
        peer->identity.cgroup = utf8_escape_invalid(*cgroup ? cgroup : "/"); /* strings in JSON are UTF-8 */
        return peer->identity.cgroup ? 0 : -ENOMEM;
}

int peer_new(int cgroup_root_fd, int socket_fd, Peer **ret) {
        _cleanup_close_ int pidfd = -EBADF;
        socklen_t size = sizeof(pidfd);
        int r;

        _cleanup_(peer_freep) Peer *peer = malloc(sizeof(Peer));
        if (!peer)
                return -ENOMEM;
        *peer = (Peer) { .cgroup_fd = -EBADF };

        r = read_credentials(peer, socket_fd);
        if (r < 0)
                return r;

        if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0)
                return errno == EINVAL ? -ESRCH : -errno; /* before Linux 6.16 a reaped peer gives EINVAL */

        r = read_process(peer, cgroup_root_fd, pidfd);
        if (r >= 0)
                r = read_cgroup(peer, cgroup_root_fd);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(peer);
        return 0;
}
