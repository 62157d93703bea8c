/* SPDX-License-Identifier: MIT */
/*
 * dmaheapctl: dmaheapd for people and shell scripts.
 *
 * Invariant: the exit status is an ExitStatus, or that of the command that allocate runs. It is not EXIT_OK if the
 * output could not be written.
 */

#include <locale.h>

#include "dmaheap.h"
#include "help.h"
#include "options.h"

/* Reports output that could not be written, for example to a full disk or a closed pipe. */
static int flush_output(int status) {
        if ((fflush(stdout) == EOF || ferror(stdout)) && status == EXIT_OK) {
                (void) fprintf(stderr, "dmaheapctl: cannot write: %s\n", strerror(errno));
                return EXIT_INTERFACE_ERROR;
        }
        return status;
}

static int run(int argc, char *argv[]) {
        enum { OPTION_VERSION = OPTION_VERB };
        static const struct option options[] = {
                COMMON_OPTIONS,
                { "version", no_argument, NULL, OPTION_VERSION },
                {},
        };
        Options o = { .timeout_usec = DMAHEAP_TIMEOUT_DEFAULT };
        const Verb *verb;
        int option, r;

        while ((option = getopt_long(argc, argv, "+h", options, NULL)) >= 0) {
                if (option == OPTION_VERSION) {
                        (void) printf("dmaheapctl %s\n", DMAHEAP_VERSION);
                        return EXIT_OK;
                }
                r = parse_common_option(&o, option);
                if (r < 0)
                        return EXIT_USAGE;
                if (r == 0) {
                        print_help();
                        return EXIT_OK;
                }
        }
        if (optind >= argc)
                return usage_error("a command is needed, as in: dmaheapctl list");

        verb = verb_find(argv[optind]);
        if (!verb)
                return usage_error("there is no command '%s'", argv[optind]);

        o.verb = verb->name;
        argv[optind] = program_invocation_short_name; /* getopt_long() begins its messages with argv[0] */
        r = verb->function(&o, argc - optind, argv + optind);
        if (o.help)
                print_verb_help(verb);
        return r;
}

int main(int argc, char *argv[]) {
        (void) setlocale(LC_CTYPE, "");
        return flush_output(run(argc, argv));
}
