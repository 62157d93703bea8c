/* SPDX-License-Identifier: MIT */
/* dmaheapctl: what a person, or a shell script, asks dmaheapd. */

#include <locale.h>
#include <stdarg.h>

#include "dmaheapctl.h"
#include "format.h"
#include "help.h"

int usage_error(const char *format, ...) {
        va_list ap;

        (void) fputs("dmaheapctl: ", stderr);
        va_start(ap, format);
        (void) vfprintf(stderr, format, ap);
        va_end(ap);
        (void) fputs("\nTry 'dmaheapctl --help'.\n", stderr);
        return EXIT_USAGE;
}

int parse_common_option(Options *o, int option, const char *verb) {
        const Verb *v = verb ? verb_find(verb) : NULL;

        switch (option) {
        case 'h':
                if (v)
                        print_verb_help(v);
                else
                        print_help();
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
                /* getopt has said what is wrong. */
                (void) fprintf(stderr, "Try 'dmaheapctl %s%s--help'.\n", verb ?: "", verb ? " " : "");
                return -1;
        }
}

int parse_no_arguments(Options *o, const char *verb, int argc, char *argv[]) {
        static const struct option options[] = { COMMON_OPTIONS, {} };
        int option, r;

        optind = 0;
        while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                r = parse_common_option(o, option, verb);
                if (r <= 0)
                        return r;
        }
        if (optind < argc) {
                (void) usage_error("'%s' takes no arguments, and was given '%s'", verb, argv[optind]);
                return -1;
        }
        return 1;
}

int make_connection(const Options *o, DmaHeapConnection **ret) {
        int r;

        r = dmaheap_connection_new(o->address, ret);
        if (r == -EINVAL || r == -ENAMETOOLONG)
                return usage_error("the address cannot be that of a socket: %s", strerror(-r));
        if (r >= 0)
                r = dmaheap_connection_set_timeout(*ret, o->timeout_usec);
        return r < 0 ? report_error(r, NULL) : EXIT_OK;
}

int report_error(int r, const DmaHeapError *error) {
        const char *name = dmaheap_error_name(error);

        (void) fprintf(stderr, "dmaheapctl: %s%s%s\n", name ?: "", name ? ": " : "",
                       error ? dmaheap_error_message(error) : strerror(-r));
        return dmaheap_error_reason(error) == DMAHEAP_UNREACHABLE ? EXIT_NO_DAEMON : EXIT_INTERFACE_ERROR;
}

bool print_json(const Options *o, const DmaHeapReply *reply) {
        CLEANUP_FREE char *text = NULL;

        if (o->json == JSON_OFF)
                return false;

        if (dmaheap_reply_json(reply, o->json == JSON_PRETTY, &text) >= 0)
                (void) fputs(text, stdout);
        return true;
}

int ask_and_print(Options *o, const char *verb, int argc, char *argv[], AskFunction ask, PrintFunction print) {
        CLEANUP(connection_freep) DmaHeapConnection *c = NULL;
        CLEANUP(reply_freep) DmaHeapReply *reply = NULL;
        CLEANUP(error_freep) DmaHeapError *error = NULL;
        int r;

        r = parse_no_arguments(o, verb, argc, argv);
        if (r <= 0)
                return r < 0 ? EXIT_USAGE : EXIT_OK;

        r = make_connection(o, &c);
        if (r != EXIT_OK)
                return r;
        r = ask(c, &reply, &error);
        if (r < 0)
                return report_error(r, error);

        if (!print_json(o, reply))
                print(o, reply);
        return EXIT_OK;
}

/* What was asked for may have gone nowhere: a full disk, a closed pipe. */
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
                r = parse_common_option(&o, option, NULL);
                if (r <= 0)
                        return r < 0 ? EXIT_USAGE : EXIT_OK;
        }
        if (optind >= argc)
                return usage_error("a command is needed, as in: dmaheapctl list");

        verb = verb_find(argv[optind]);
        if (!verb)
                return usage_error("there is no command '%s'", argv[optind]);

        /* getopt_long() begins its messages with it. */
        argv[optind] = program_invocation_short_name;
        return verb->function(&o, argc - optind, argv + optind);
}

int main(int argc, char *argv[]) {
        (void) setlocale(LC_CTYPE, "");
        return flush_output(run(argc, argv));
}
