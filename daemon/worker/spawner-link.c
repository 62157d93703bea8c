/* SPDX-License-Identifier: GPL-2.0-only */

/* Starts dmaheapd-spawner, and starts it again when it is needed after it ended. The invariant: at most one spawner
 * runs. Each request that was sent gets a reply, or the end of the spawner is reported. */

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "util/fd-util.h"
#include "util/log.h"
#include "worker/spawner-link.h"
#include "worker/worker-protocol.h"

struct SpawnerLink {
        sd_event *event;
        char *path;
        spawner_reply_t on_reply;
        spawner_lost_t on_lost;
        void *userdata;
        int socket_fd;
        pid_t pid;
        sd_event_source *socket_source;
        sd_event_source *child_source;
};

int spawner_link_new(sd_event *event, const char *path, spawner_reply_t on_reply, spawner_lost_t on_lost,
                void *userdata, SpawnerLink **ret) {
        _cleanup_(spawner_link_freep) SpawnerLink *link = malloc(sizeof(SpawnerLink));
        if (!link)
                return -ENOMEM;

        *link = (SpawnerLink) {
                .event = sd_event_ref(event),
                .path = strdup(path),
                .on_reply = on_reply,
                .on_lost = on_lost,
                .userdata = userdata,
                .socket_fd = -EBADF,
        };
        if (!link->path)
                return -ENOMEM;

        *ret = TAKE_PTR(link);
        return 0;
}

/* Closes the connection. A spawner that still runs exits because of that, and its workers with it. */
static void link_disconnect(SpawnerLink *link) {
        link->socket_source = sd_event_source_disable_unref(link->socket_source);
        link->socket_fd = safe_close(link->socket_fd);
}

SpawnerLink *spawner_link_free(SpawnerLink *link) {
        if (!link)
                return NULL;

        link_disconnect(link);
        sd_event_source_disable_unref(link->child_source);
        if (link->pid > 0) {
                (void) kill(link->pid, SIGKILL);
                (void) waitpid(link->pid, NULL, 0);
        }
        sd_event_unref(link->event);
        free(link->path);
        free(link);
        return NULL;
}

static void link_lost(SpawnerLink *link) {
        link_disconnect(link);
        if (link->pid > 0)
                (void) kill(link->pid, SIGKILL); /* it broke the protocol, or closed its socket and did not exit */
        link->on_lost(link->userdata);
}

static int on_child(sd_event_source *source _unused_, const siginfo_t *si, void *userdata) {
        SpawnerLink *link = userdata;

        if (si->si_code == CLD_EXITED)
                log_warning("The spawner exited with status %d.", si->si_status);
        else
                log_warning("The spawner was ended by signal %d.", si->si_status);

        link->pid = 0;
        link->child_source = sd_event_source_disable_unref(link->child_source);
        if (link->socket_fd >= 0)
                link_lost(link);
        return 0;
}

static int on_socket(sd_event_source *source _unused_, int fd, uint32_t revents _unused_, void *userdata) {
        SpawnerLink *link = userdata;
        SpawnReply reply = {};
        int pidfd = -EBADF;
        size_t n_fds;

        int r = receive_message(fd, &reply, sizeof(reply), &pidfd, 1, &n_fds, MSG_DONTWAIT);
        if (r == -EAGAIN)
                return 0;
        if (r == -EMFILE) { /* this process may not have another pidfd; the worker ends with its socket */
                link->on_reply(reply.id, -EMFILE, -EBADF, link->userdata);
                return 0;
        }
        if (r <= 0 || reply.error > 0 || (reply.error == 0) != (n_fds == 1)) {
                if (r > 0)
                        safe_close(pidfd);
                link_lost(link);
                return 0;
        }

        link->on_reply(reply.id, reply.error, pidfd, link->userdata);
        return 0;
}

static int spawn(const char *path, int socket_fd, pid_t *ret) {
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t none;
        char *argv[] = { (char *) SPAWNER_TITLE, NULL };
        int r;

        (void) sigemptyset(&none);

        r = posix_spawn_file_actions_init(&actions);
        if (r > 0)
                return -r;
        r = posix_spawnattr_init(&attributes);
        if (r > 0) {
                (void) posix_spawn_file_actions_destroy(&actions);
                return -r;
        }

        r = posix_spawn_file_actions_adddup2(&actions, socket_fd, SPAWNER_SOCKET_FD);
        if (r == 0)
                r = posix_spawnattr_setsigmask(&attributes, &none);
        if (r == 0)
                r = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
        if (r == 0)
                r = posix_spawn(ret, path, &actions, &attributes, argv, environ);

        (void) posix_spawnattr_destroy(&attributes);
        (void) posix_spawn_file_actions_destroy(&actions);
        return -r;
}

int spawner_link_start(SpawnerLink *link) {
        int r, fds[2];

        if (link->socket_fd >= 0)
                return 0;
        if (link->pid > 0)
                return -EAGAIN; /* on_child() has not reaped the last one yet */

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return -errno;

        link->socket_fd = fds[0];
        _cleanup_close_ int spawner_fd = fds[1];

        /* dup2() to the same number would leave close-on-exec set. */
        if (spawner_fd == SPAWNER_SOCKET_FD) {
                int fd = fcntl(spawner_fd, F_DUPFD_CLOEXEC, SPAWNER_SOCKET_FD + 1);
                if (fd < 0) {
                        r = -errno;
                        link_disconnect(link);
                        return r;
                }
                safe_close(spawner_fd);
                spawner_fd = fd;
        }

        r = spawn(link->path, spawner_fd, &link->pid);
        if (r >= 0)
                r = sd_event_add_child(link->event, &link->child_source, link->pid, WEXITED, on_child, link);
        if (r >= 0)
                r = sd_event_add_io(link->event, &link->socket_source, link->socket_fd, EPOLLIN, on_socket, link);
        if (r < 0) {
                link_disconnect(link);
                if (link->pid > 0 && !link->child_source) {
                        (void) kill(link->pid, SIGKILL);
                        (void) waitpid(link->pid, NULL, 0);
                        link->pid = 0;
                }
                return r;
        }

        (void) sd_event_source_set_description(link->socket_source, "spawner");
        return 0;
}

int spawner_link_request(SpawnerLink *link, uint64_t id, int cgroup_fd, int worker_fd) {
        int r = spawner_link_start(link);
        if (r < 0)
                return r;

        SpawnRequest request = { .id = id };
        int fds[] = { cgroup_fd, worker_fd };
        return send_message(link->socket_fd, &request, sizeof(request), fds, ELEMENTSOF(fds), MSG_DONTWAIT);
}
