/* SPDX-License-Identifier: MIT */
/* dmaheapctl: what a person, or a shell script, asks dmaheapd. */

#include <locale.h>
#include <stdarg.h>

#include "dmaheapctl.h"
#include "format.h"

typedef struct Verb {
        const char *name;
        VerbFunction function;
        const char *arguments;
        const char *summary;
        const char *help; /* all of `dmaheapctl VERB --help` below its first line */
} Verb;

#define COMMON_HELP                                                                                        \
        "  --json=pretty|short  print the parameters of the daemon's reply, unchanged\n"                   \
        "  --bytes              print sizes as plain numbers of bytes\n"                                   \
        "  --timeout=TIME       how long to wait for an answer: 30, 500ms, 2min, infinity (45s)\n"         \
        "  --address=PATH       the daemon's socket (" DMAHEAP_ADDRESS ")\n"

static const Verb verbs[] = {
        { "list", verb_list, "", "the heaps there are, and those that could be loaded",
          "Shows every heap that exists under /dev/dma_heap, and every one that a kernel module would\n"
          "provide ('loadable': the first allocation loads it), with what it is good for, how big it is if\n"
          "it is bounded, how much of it is in use, and who charges a client's cgroup for its memory.\n"
          "\n"
          "Options:\n"
          COMMON_HELP
          "\n"
          "Example:\n"
          "  dmaheapctl list --json=short | jq -r '.heaps[] | select(.state == \"ready\") | .name'\n" },
        { "allocate", verb_allocate, "[OPTIONS] SIZE [-- COMMAND ...]", "allocate buffers, and run a command that uses them",
          "Allocates dma-bufs of SIZE bytes each (K, M, G, T allowed: 8M), all of them or none.\n"
          "With a COMMAND, runs it with the buffers as file descriptors 3, 4, ...; LISTEN_FDS says how many\n"
          "there are. Without one, says what was received, a line for each buffer, and gives it back.\n"
          "\n"
          "Options:\n"
          "  --role=ROLE          what the memory is for: system (the default), contiguous, protected\n"
          "  --heap=NAME          the heap itself, as `dmaheapctl list` names it\n"
          "  -n, --count=N        how many buffers (1)\n"
          "  --read-only          the command cannot map them for writing\n"
          "  --label=TEXT         name them, so that they can be told apart in the kernel's lists\n"
          COMMON_HELP
          "\n"
          "Examples:\n"
          "  dmaheapctl allocate 8M\n"
          "  dmaheapctl allocate --role=contiguous --count=4 8M -- camera-test --fds=3,4,5,6\n"
          "  dmaheapctl allocate 1M -- sh -c 'cat /proc/self/fdinfo/3'\n"
          "\n"
          "The exit status is COMMAND's, or 126 or 127 if it could not be run.\n" },
};

static const Verb *verb_find(const char *name) {
        for (size_t i = 0; i < ELEMENTS_OF(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return verbs + i;
        return NULL;
}

static void print_help(void) {
        (void) printf("dmaheapctl [OPTIONS] COMMAND ...\n"
                      "\n"
                      "Allocates dma-bufs from dmaheapd, and shows what there is.\n"
                      "\n"
                      "Commands:\n");
        for (size_t i = 0; i < ELEMENTS_OF(verbs); i++)
                (void) printf("  %-20s %s\n", verbs[i].name, verbs[i].summary);
        (void) printf("\n"
                      "Options, for every command:\n"
                      "  -h, --help           this, or after a command, what it does and takes\n"
                      "  --version            the version\n"
                      COMMON_HELP
                      "\n"
                      "Exit status: 0 for success, 1 for an error of the daemon (its name is on standard error),\n"
                      "2 for a wrong command line, 3 if there is no daemon to reach.\n"
                      "\n"
                      "See dmaheapctl(1) and dmaheapd(8).\n");
}

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
                        (void) printf("dmaheapctl %s%s%s\n\n%s", v->name, *v->arguments ? " " : "", v->arguments, v->help);
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
