/* SPDX-License-Identifier: GPL-2.0-only */

/* The program dmaheapd: parses the command line, then either checks the configuration or runs the daemon until its
 * event loop ends. Invariant: the manager outlives the varlink server. */

#include <getopt.h>
#include <stdio.h>

#include "build-config.h"
#include "config/config-load.h"
#include "manager.h"
#include "util/log.h"
#include "varlink/varlink-server.h"

static void on_config_problem(const char *path, unsigned line, const char *message, void *userdata _unused_) {
        if (line > 0)
                printf("%s:%u: %s\n", path, line, message);
        else
                printf("%s: %s\n", path, message);
}

/* Checks the file at path, or with NULL all files of the configuration. Returns the exit status: 1 if there is a
 * problem. */
static int check_config(const char *path) {
        Config *config = NULL;
        int r;

        if (path)
                r = config_check_file(path, on_config_problem, NULL);
        else
                r = config_load(NULL, on_config_problem, NULL, &config);
        if (r < 0)
                (void) log_error_errno(r, "Cannot check the configuration: %m");

        config_free(config);
        return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void help(void) {
        printf("dmaheapd [OPTION…]\n"
               "\n"
               "Allocates dma-bufs for clients, each inside its own control group.\n"
               "Started by dmaheapd.socket; not for use by hand.\n"
               "\n"
               "  -h, --help                 Show this help\n"
               "      --version              Show the version\n"
               "      --check-config [FILE]  Check the configuration, or one file of it, and exit\n"
               "\n"
               "See dmaheapd(8).\n");
}

static int run(void) {
        _cleanup_(manager_freep) Manager *manager = NULL;
        _cleanup_(varlink_server_freep) VarlinkServer *server = NULL;
        int r;

        r = manager_new(&manager);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the daemon: %m");

        r = manager_startup(manager);
        if (r == -ECANCELED)
                return 0;
        if (r < 0)
                return r;

        r = varlink_server_new(manager, &server);
        if (r < 0)
                return r;

        manager_serving(manager);

        r = sd_event_loop(manager->event);
        if (r < 0)
                return log_error_errno(r, "The event loop failed: %m");

        return 0;
}

int main(int argc, char *argv[]) {
        enum { ARG_VERSION = 0x100, ARG_CHECK_CONFIG };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "check-config", no_argument, NULL, ARG_CHECK_CONFIG },
                {},
        };
        bool check = false;
        int c;

        log_setup();

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        help();
                        return EXIT_SUCCESS;
                case ARG_VERSION:
                        printf("dmaheapd %s\n", PROJECT_VERSION);
                        return EXIT_SUCCESS;
                case ARG_CHECK_CONFIG:
                        check = true;
                        break;
                default:
                        return EXIT_FAILURE;
                }

        if (optind < argc - (check ? 1 : 0)) {
                log_error("Too many arguments; see --help.");
                return EXIT_FAILURE;
        }

        if (check)
                return check_config(argv[optind]);

        return run() < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
