/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-varlink-idl.h>

/* The interface description of io.dmaheapd.Allocator, as `varlinkctl introspect` prints it. */
extern const sd_varlink_interface vl_interface_io_dmaheapd_Allocator;
