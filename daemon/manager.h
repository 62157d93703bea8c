/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "config/config.h"
#include "request.h"

/* Owns every object of the daemon below the varlink server. A client's open socket is a `Connection`, its Allocate call
 * an `AllocateRequest` of the allocator. */
typedef struct Manager {
        sd_event *event;
        Config *config;
        HeapRegistry heaps;
        HeapScan *heap_scan;
        DeviceMonitor *device_monitor;
        HeapChoice *region_choice; /* the heap that is being loaded for a region */
        bool serving;              /* clients can connect */
        bool announced;            /* READY=1 was sent */
        WorkerPool *worker_pool;
        int cgroup_root_fd;
        ClientRegistry clients;
        Accounting *accounting;
        Allocator allocator;
        char *product;
        unsigned n_connections;
        sd_event_source *idle_source;
        sd_event_source *sighup_source;
        sd_event_source *changed_source; /* delays and merges reports of heap changes */
        heap_changed_t on_heaps_changed;
        void *on_heaps_changed_userdata;
} Manager;

int manager_new(Manager **ret);

/* Frees everything. No connection may be left. */
Manager *manager_free(Manager *manager);
DEFINE_CLEANUP(Manager, manager_free);

/* Brings up everything that the first client needs: configuration, spawner, device monitor, heaps and loadable
 * heaps, the ledger reconciled with a census. Blocks until then; call it before listening.
 *
 * Returns 0; -ECANCELED if SIGTERM or SIGINT came meanwhile; or -errno, logged. */
int manager_startup(Manager *manager);

/* Call once listening. Sends `READY=1` when the heaps of all regions found at start are loaded; units that need them at
 * boot wait for it. Clients are served meanwhile. */
void manager_serving(Manager *manager);

/* The product string of GetInfo: daemon name and census method. Owned by the manager. */
const char *manager_product(const Manager *manager);

/* Sets the one callback for changes of what ListHeaps shows; NULL for none. */
void manager_set_heaps_changed(Manager *manager, heap_changed_t on_heaps_changed, void *userdata);

/* Identifies the peer of a connected socket. Returns 0; the caller owes a manager_disconnect(). Or -errno: -ESRCH when
 * the peer has gone already. */
int manager_connect(Manager *manager, int socket_fd, Connection *ret);

/* Counts the connection against ConnectionsMax= and ConnectionsPerUserMax=. True: admitted until it disconnects. False:
 * a limit is reached; may be retried. */
bool manager_admit(Manager *manager, Connection *connection);

/* The connection has ended; its request must have been cancelled. Leaves all zeroes; does nothing with all zeroes. */
void manager_disconnect(Manager *manager, Connection *connection);
