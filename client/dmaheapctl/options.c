/* SPDX-License-Identifier: MIT */
/*
 * The options that every command takes, before its name or after it.
 *
 * Invariant: wrong usage is reported exactly once, with one message on standard error.
 */

#include <stdarg.h>

#include "format.h"
#include "options.h"

int usage_error(const char *format, ...) {
        va_list ap;

        (void) fputs("dmaheapctl: ", stderr);
        va_start(ap, format);
        (void) vfprintf(stderr, format, ap);
        va_end(ap);
        (void) fputs("\nTry 'dmaheapctl --help'.\n", stderr);
        return EXIT_USAGE;
}

int parse_common_option(Options *o, int option) {
        switch (option) {
        case 'h':
                o->help = true;
                return 0;
        case OPTION_JSON:
                if (strcmp(optarg, "pretty") == 0)
                        o->json = JSON_PRETTY;
                else if (strcmp(optarg, "short") == 0)
                        o->json = JSON_SHORT;
                else {
                        (void) usage_error("--json= is 'pretty' or 'short', not '%s'", optarg);
                        return -1;
                }
                return 1;
        case OPTION_ADDRESS:
                o->address = optarg;
                return 1;
        case OPTION_BYTES:
                o->bytes = true;
                return 1;
        case OPTION_TIMEOUT:
                if (parse_usec(optarg, &o->timeout_usec) < 0 || o->timeout_usec == 0) {
                        (void) usage_error("'%s' is not a time, as in 30, 500ms, 2min or infinity", optarg);
                        return -1;
                }
                return 1;
        default:
                (void) fprintf(stderr, "Try 'dmaheapctl %s%s--help'.\n", o->verb ?: "", o->verb ? " " : "");
                return -1;
        }
}

int parse_no_arguments(const Options *o, int argc, char *argv[]) {
        if (optind >= argc)
                return 1;

        (void) usage_error("'%s' takes no arguments, and was given '%s'", o->verb, argv[optind]);
        return -1;
}

int parse_common_options(Options *o, int argc, char *argv[]) {
        static const struct option options[] = { COMMON_OPTIONS, {} };
        int option, r;

        optind = 0;
        while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                r = parse_common_option(o, option);
                if (r <= 0)
                        return r;
        }
        return parse_no_arguments(o, argc, argv);
}
