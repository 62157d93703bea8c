/* SPDX-License-Identifier: MIT */
/*
 * dmaheapctl usage: how much the caller holds and may hold.
 *
 * Invariant: a limit that does not exist is shown as '-'.
 */

#include "ask.h"
#include "format.h"
#include "table.h"
#include "usage.h"
#include "verbs.h"

static void add_usage(Table *t, const Options *o, const char *what, const DmaHeapUsage *u) {
        char buffer[FORMAT_MAX];

        table_add(t, CELL_PLAIN, what);
        table_add_used(t, format_size(u->bytes_used, o->bytes, buffer), u->bytes_used, u->bytes_max);
        table_add(t, CELL_PLAIN, format_size(u->bytes_max, o->bytes, buffer));
        table_add_used(t, format_count(u->buffers_used, buffer), u->buffers_used, u->buffers_max);
        table_add(t, CELL_PLAIN, format_count(u->buffers_max, buffer));
}

void print_usage(const Options *o, const DmaHeapReply *reply) {
        static const char *const headings[] = { "WHOSE", ">BYTES", ">LIMIT", ">BUFFERS", ">LIMIT" };
        CLEANUP(table_freep) Table *t = table_new(ELEMENTS_OF(headings), headings);
        const DmaHeapUsageReport *u = dmaheap_reply_usage(reply);
        char buffer[FORMAT_MAX];

        add_usage(t, o, "this client", u->client);
        add_usage(t, o, "this user", u->user);
        for (size_t i = 0; i < u->n_heaps; i++) {
                const DmaHeapHeapUsage *h = u->heaps[i];
                CLEANUP_FREE char *what = NULL;

                if (asprintf(&what, "this client in %s", h->heap) < 0)
                        what = NULL;
                table_add(t, CELL_PLAIN, what);
                table_add_used(t, format_size(h->bytes_used, o->bytes, buffer), h->bytes_used, h->bytes_max);
                table_add(t, CELL_PLAIN, format_size(h->bytes_max, o->bytes, buffer));
                table_add(t, CELL_PLAIN, NULL);
                table_add(t, CELL_PLAIN, NULL);
        }
        table_print(t, stdout, colours_wanted(), 0);

        if (u->cgroup_headroom == DMAHEAP_UNLIMITED)
                (void) printf("\nIts cgroup has no limit.\n");
        else
                (void) printf("\nIts cgroup can take %s more.\n", format_size(u->cgroup_headroom, o->bytes, buffer));
}

int verb_usage(Options *o, int argc, char *argv[]) {
        return ask_and_print(o, argc, argv, dmaheap_get_usage, print_usage);
}
