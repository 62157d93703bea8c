/* SPDX-License-Identifier: MIT */
/* What the files of dmaheapctl share: the common options, the verbs, and how a failed call ends the program. */
#pragma once

#include <getopt.h>
#include <stdbool.h>

#include "dmaheap.h"
#include "shared/cleanup.h"

/* Scripts rely on them: docs/interface.md, "Commands". */
typedef enum ExitStatus {
        EXIT_OK = 0,
        EXIT_INTERFACE_ERROR = 1, /* the daemon refused, or the call failed on the way */
        EXIT_USAGE = 2,
        EXIT_NO_DAEMON = 3,
} ExitStatus;

typedef enum JsonMode {
        JSON_OFF,
        JSON_SHORT,
        JSON_PRETTY,
} JsonMode;

typedef struct Options {
        JsonMode json;
        bool bytes;          /* print sizes as plain numbers */
        const char *address; /* or NULL */
        uint64_t timeout_usec;
} Options;

/* A verb gets its own part of the command line, the program's name as argv[0], and returns an ExitStatus. */
typedef int (*VerbFunction)(Options *o, int argc, char *argv[]);

int verb_list(Options *o, int argc, char *argv[]);
int verb_allocate(Options *o, int argc, char *argv[]);
int verb_usage(Options *o, int argc, char *argv[]);
int verb_clients(Options *o, int argc, char *argv[]);
int verb_buffers(Options *o, int argc, char *argv[]);
int verb_info(Options *o, int argc, char *argv[]);
int verb_monitor(Options *o, int argc, char *argv[]);
int verb_top(Options *o, int argc, char *argv[]);

/* The options every verb takes: in its table after its own, and in its switch as 'default'. */
enum {
        OPTION_JSON = 0x100,
        OPTION_ADDRESS,
        OPTION_TIMEOUT,
        OPTION_BYTES,
        OPTION_VERB, /* the first that a verb may use for itself */
};

#define COMMON_OPTIONS                                               \
        { "help", no_argument, NULL, 'h' },                          \
        { "json", required_argument, NULL, OPTION_JSON },            \
        { "address", required_argument, NULL, OPTION_ADDRESS },      \
        { "timeout", required_argument, NULL, OPTION_TIMEOUT },      \
        { "bytes", no_argument, NULL, OPTION_BYTES }

/* Deals with one of the common options, as getopt_long() returned it. Returns 1 if all is well, 0 if the program has done
 * all it should (--help), -1 for wrong usage, which it has reported. */
int parse_common_option(Options *o, int option, const char *verb);

/* For verbs that take no options of their own and no arguments. Returns as parse_common_option(). */
int parse_no_arguments(Options *o, const char *verb, int argc, char *argv[]);

/* Says what is wrong with the command line. Returns EXIT_USAGE. */
int usage_error(const char *format, ...) PRINTF_LIKE(1, 2);

/* Makes the connection object. Returns an ExitStatus. */
int make_connection(const Options *o, DmaHeapConnection **ret);

/* Says on standard error why a call failed, the interface's name of the error first. Returns the ExitStatus. */
int report_error(int r, const DmaHeapError *error);

/* Prints the parameters of a reply, unchanged, if JSON was asked for. Returns whether it was. */
bool print_json(const Options *o, const DmaHeapReply *reply);

/* What a verb does that takes nothing, asks one question and shows the answer. Returns an ExitStatus. */
typedef int (*AskFunction)(DmaHeapConnection *c, DmaHeapReply **ret_reply, DmaHeapError **ret_error);
typedef void (*PrintFunction)(const Options *o, const DmaHeapReply *reply);
int ask_and_print(Options *o, const char *verb, int argc, char *argv[], AskFunction ask, PrintFunction print);

static inline void connection_freep(DmaHeapConnection **c) {
        *c = dmaheap_connection_free(*c);
}

static inline void reply_freep(DmaHeapReply **reply) {
        *reply = dmaheap_reply_free(*reply);
}

static inline void error_freep(DmaHeapError **error) {
        *error = dmaheap_error_free(*error);
}
