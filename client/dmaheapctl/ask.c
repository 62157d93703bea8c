/* SPDX-License-Identifier: MIT */
/*
 * Calls to the daemon.
 *
 * Invariant: a failed call prints one message on standard error and nothing on standard output. Its exit status is
 * EXIT_NO_DAEMON if the daemon could not be reached, else EXIT_INTERFACE_ERROR.
 */

#include "ask.h"

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

        (void) fprintf(stderr,
                        "dmaheapctl: %s%s%s\n",
                        name ?: "",
                        name ? ": " : "",
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

int ask_and_print(Options *o, int argc, char *argv[], AskFunction ask, PrintFunction print) {
        CLEANUP(connection_freep) DmaHeapConnection *c = NULL;
        CLEANUP(reply_freep) DmaHeapReply *reply = NULL;
        CLEANUP(error_freep) DmaHeapError *error = NULL;
        int r;

        r = parse_common_options(o, argc, argv);
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
