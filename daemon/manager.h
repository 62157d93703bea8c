/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "accounting.h"
#include "client.h"
#include "config.h"
#include "device-monitor.h"
#include "heap-choice.h"
#include "heap-scan.h"
#include "heap.h"
#include "module-loader.h"
#include "peer.h"
#include "worker-pool.h"

typedef struct AllocateRequest AllocateRequest;

/* Owns every object of the daemon. Who comes to it from outside is a connection; what it asks for is a request. */
typedef struct Manager {
        sd_event *event;
        Config *config;
        HeapRegistry heaps;
        HeapScan *heap_scan;
        DeviceMonitor *device_monitor;
        HeapChoice *region_choice; /* the heap that is being loaded for a region */
        bool serving;              /* clients are listened to */
        bool announced;            /* READY=1 was sent */
        WorkerPool *worker_pool;
        int cgroup_root_fd;
        ClientRegistry clients;
        Accounting *accounting;
        char *product;
        AllocateRequest *requests;
        unsigned n_connections;
        sd_event_source *idle_source;
        sd_event_source *sighup_source;
        sd_event_source *changed_source; /* coalesces what happens to the heaps */
        heap_changed_t on_heaps_changed;
        void *on_heaps_changed_userdata;
} Manager;

/* One open connection of a client. */
typedef struct Connection {
        Peer *peer;
        Client *client;
        bool admitted; /* within the limits on connections */
} Connection;

int manager_new(Manager **ret);
Manager *manager_free(Manager *manager);
DEFINE_CLEANUP(Manager, manager_free);

/* Brings up everything that must be there before the first client: configuration, spawner, heaps and what could be loaded,
 * the ledger reconciled with a census, device monitor. Blocks for as long as that takes; listening comes afterwards. Returns 0; -ECANCELED when
 * told to end meanwhile; or -errno, logged. */
int manager_startup(Manager *manager);

/* Clients are listened to: tells systemd that we are ready, now or when the regions that were found have their heaps: those who want them there at
 * boot wait for that. Clients are served meanwhile. */
void manager_serving(Manager *manager);

/* What we are called, and how buffers are counted; the manager's. GetInfo says it, as the interface has no other place. */
const char *manager_product(const Manager *manager);

/* Whom to tell when what ListHeaps shows has changed. */
void manager_set_heaps_changed(Manager *manager, heap_changed_t on_heaps_changed, void *userdata);

/* Identifies who has connected. Returns 0, or -errno: -ESRCH when it is gone already. */
int manager_connect(Manager *manager, int socket_fd, Connection *ret);

/* Whether there is room for this connection, among all and among those of its user. Where there is, it has its place until it
 * ends; where there is none, it is worth asking again. */
bool manager_admit(Manager *manager, Connection *connection);

/* The connection has ended; its request must have been cancelled. */
void manager_disconnect(Manager *manager, Connection *connection);
