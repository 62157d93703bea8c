/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "util/macro.h"

/* The daemon's connection to dmaheapd-spawner. */
typedef struct SpawnerLink SpawnerLink;

/* A worker was started (error is 0, and pidfd becomes the callee's), or could not be (error is a negative errno). */
typedef void (*spawner_reply_t)(uint64_t id, int error, int pidfd, void *userdata);

/* The spawner ended: requests without a reply will not get one. The next request starts another spawner. May call
 * spawner_link_request(). */
typedef void (*spawner_lost_t)(void *userdata);

/* Both callbacks come from the event loop. path: the program. Returns 0, or -ENOMEM. */
int spawner_link_new(sd_event *event, const char *path, spawner_reply_t on_reply, spawner_lost_t on_lost,
                void *userdata, SpawnerLink **ret);

/* Kills the spawner and waits for its end. Accepts NULL, returns NULL. */
SpawnerLink *spawner_link_free(SpawnerLink *link);
DEFINE_CLEANUP(SpawnerLink, spawner_link_free);

/* Starts the spawner if it does not run. Returns 0; -EAGAIN when the last one has not been reaped yet; or -errno. */
int spawner_link_start(SpawnerLink *link);

/* Asks for a worker in a control group, with its end of a socket; both descriptors stay the caller's. Starts the
 * spawner if need be. id: comes back with the reply. Returns 0; -EAGAIN when the spawner's queue is full or the last
 * one has not been reaped; or -errno. */
int spawner_link_request(SpawnerLink *link, uint64_t id, int cgroup_fd, int worker_fd);
