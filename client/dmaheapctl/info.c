/* SPDX-License-Identifier: MIT */
/*
 * dmaheapctl info: the daemon's name and version, and how it counts buffers.
 *
 * Invariant: prints the strings of GetInfo unchanged.
 */

#include "ask.h"
#include "verbs.h"

static void print_info(const Options *o, const DmaHeapReply *reply) {
        const DmaHeapDaemonInfo *info = dmaheap_reply_daemon_info(reply);

        (void) o;
        (void) printf("Daemon:  %s\nVersion: %s\n", info->product, info->version);
}

int verb_info(Options *o, int argc, char *argv[]) {
        return ask_and_print(o, argc, argv, dmaheap_get_daemon_info, print_info);
}
