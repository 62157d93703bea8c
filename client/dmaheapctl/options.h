/* SPDX-License-Identifier: MIT */
/* The command line: the options that every command takes, and the exit status. */
#pragma once

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

#include "shared/cleanup.h"

/* The exit statuses that dmaheapctl(1) promises to scripts. */
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
        const char *verb; /* the command, NULL before it is known */
        bool help;        /* --help was given */
        JsonMode json;
        bool bytes;          /* print sizes as plain numbers */
        const char *address; /* of the daemon's socket; NULL for the library's default */
        uint64_t timeout_usec;
} Options;

/* The values that getopt_long() returns for the common options that have no letter. */
enum {
        OPTION_JSON = 0x100,
        OPTION_ADDRESS,
        OPTION_TIMEOUT,
        OPTION_BYTES,
        OPTION_VERB, /* a command's own options begin here */
};

/* The entries of the common options in a command's table. */
#define COMMON_OPTIONS                                                                        \
        { "help", no_argument, NULL, 'h' }, { "json", required_argument, NULL, OPTION_JSON }, \
                        { "address", required_argument, NULL, OPTION_ADDRESS },               \
                        { "timeout", required_argument, NULL, OPTION_TIMEOUT }, {             \
                "bytes", no_argument, NULL, OPTION_BYTES                                      \
        }

/* The parse functions return 1 to go on; 0 if --help was given, which ends the command with success; -1 for wrong
 * usage, which they have reported. */

/* Stores one of the common options in o. option: what getopt_long() returned; optarg: as it left it. Any other option
 * is wrong usage, which getopt_long() has reported. */
int parse_common_option(Options *o, int option);

/* Parses the command line of a command that takes only the common options. */
int parse_common_options(Options *o, int argc, char *argv[]);

/* Checks that getopt_long() has left no argument. */
int parse_no_arguments(const Options *o, int argc, char *argv[]);

/* Prints a message about the command line on standard error. Returns EXIT_USAGE. */
int usage_error(const char *format, ...) PRINTF_LIKE(1, 2);
