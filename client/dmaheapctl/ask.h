/* SPDX-License-Identifier: MIT */
/* Calls to the daemon: the connection, and what becomes of a reply or an error. */
#pragma once

#include <stdbool.h>

#include "dmaheap.h"
#include "options.h"

/* Makes a connection object with the address and timeout of o. Returns an ExitStatus; if it is not EXIT_OK, the reason
 * is on standard error. The caller frees *ret with dmaheap_connection_free(), in both cases. */
int make_connection(const Options *o, DmaHeapConnection **ret);

/* Prints on standard error why a call failed, with the varlink name of the error first if there is one. r: what the
 * call returned. error: may be NULL, and stays the caller's. Returns the ExitStatus. */
int report_error(int r, const DmaHeapError *error);

/* Prints the parameters of a reply, unchanged, if --json= was given. Returns whether it was. */
bool print_json(const Options *o, const DmaHeapReply *reply);

/* A call without parameters, such as dmaheap_list_heaps(). */
typedef int (*AskFunction)(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error);

/* Prints a reply for people. */
typedef void (*PrintFunction)(const Options *o, const DmaHeapReply *reply);

/* Runs a command that takes only the common options: makes the call, and prints the reply. Returns an ExitStatus. */
int ask_and_print(Options *o, int argc, char *argv[], AskFunction ask, PrintFunction print);

static inline void connection_freep(DmaHeapConnection **c) {
        *c = dmaheap_connection_free(*c);
}

static inline void reply_freep(DmaHeapReply **reply) {
        *reply = dmaheap_reply_free(*reply);
}

static inline void error_freep(DmaHeapError **error) {
        *error = dmaheap_error_free(*error);
}
