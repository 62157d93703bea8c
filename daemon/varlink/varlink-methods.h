/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-varlink.h>

/* Binds the methods of io.dmaheapd.Allocator; the userdata of each sd_varlink must be its Link. Returns 0 or -errno. */
int varlink_methods_bind(sd_varlink_server *server);
