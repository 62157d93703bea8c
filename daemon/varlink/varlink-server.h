/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "manager.h"

/* Serves io.dmaheapd.Allocator on the sockets that systemd passed. */
typedef struct VarlinkServer VarlinkServer;

/* Begins to listen; the manager must outlive the server. Returns 0, or -errno, logged. */
int varlink_server_new(Manager *manager, VarlinkServer **ret);
VarlinkServer *varlink_server_free(VarlinkServer *server);
DEFINE_CLEANUP(VarlinkServer, varlink_server_free);
