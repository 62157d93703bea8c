/* SPDX-License-Identifier: MIT */
/*
 * dmaheap-run: runs a command with libdmaheap-preload.so in its LD_PRELOAD.
 *
 * Invariant: the command is never run without the library, since it would then open /dev/dma_heap itself.
 */

#include <getopt.h>
#include <stdbool.h>

#include "shared/cleanup.h"
#include "shared/exec.h"

enum {
        EXIT_USAGE = 2,
};

static void print_help(void) {
        (void) printf("dmaheap-run [OPTIONS] COMMAND ...\n"
                      "\n"
                      "Runs COMMAND so that its buffers from /dev/dma_heap come from dmaheapd. It need not be root,\n"
                      "and it sees heaps whose kernel module is not loaded yet.\n"
                      "\n"
                      "Options:\n"
                      "  -v, --verbose        print on standard error why the daemon refused an allocation\n"
                      "  --address=PATH       the daemon's socket\n"
                      "  -h, --help           print this text\n"
                      "  --version            print the version\n"
                      "\n"
                      "Examples:\n"
                      "  dmaheap-run cam --list\n"
                      "  dmaheap-run --verbose gst-launch-1.0 libcamerasrc ! fakesink\n"
                      "\n"
                      "COMMAND must use the GNU C library, and be neither statically linked nor set-user-ID.\n"
                      "The exit status is COMMAND's, 126 if it could not be run, or 127 if it was not found.\n"
                      "See dmaheap-run(1).\n");
}

static int usage_error(void) {
        (void) fputs("Try 'dmaheap-run --help'.\n", stderr);
        return EXIT_USAGE;
}

/* Puts the library before those that LD_PRELOAD names already; they are loaded, too. */
static int set_preload(void) {
        const char *old = getenv("LD_PRELOAD");
        CLEANUP_FREE char *value = NULL;

        if (asprintf(&value, "%s%s%s", PRELOAD_LIBRARY, old && *old ? ":" : "", old ?: "") < 0) {
                value = NULL;
                return -ENOMEM;
        }
        return setenv("LD_PRELOAD", value, true) < 0 ? -errno : 0;
}

int main(int argc, char *argv[]) {
        enum { OPTION_ADDRESS = 0x100, OPTION_VERSION };
        static const struct option options[] = {
                { "verbose", no_argument, NULL, 'v' },
                { "address", required_argument, NULL, OPTION_ADDRESS },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPTION_VERSION },
                {},
        };
        int option, error;

        while ((option = getopt_long(argc, argv, "+vh", options, NULL)) >= 0)
                switch (option) {
                case 'v':
                        (void) setenv("DMAHEAP_RUN_VERBOSE", "1", true);
                        break;
                case OPTION_ADDRESS:
                        (void) setenv("DMAHEAP_ADDRESS", optarg, true);
                        break;
                case 'h':
                        print_help();
                        return 0;
                case OPTION_VERSION:
                        (void) printf("dmaheap-run %s\n", DMAHEAP_VERSION);
                        return 0;
                default:
                        return usage_error();
                }
        if (optind >= argc) {
                (void) fputs("dmaheap-run: a command is needed\n", stderr);
                return usage_error();
        }

        if (access(PRELOAD_LIBRARY, R_OK) < 0) {
                (void) fprintf(stderr, "dmaheap-run: %s: %s\n", PRELOAD_LIBRARY, strerror(errno));
                return EXIT_CANNOT_RUN;
        }
        error = set_preload();
        if (error < 0) {
                (void) fprintf(stderr, "dmaheap-run: %s\n", strerror(-error));
                return EXIT_CANNOT_RUN;
        }

        return exec_command("dmaheap-run", argv + optind);
}
