/* SPDX-License-Identifier: MIT */
/*
 * dmaheapctl clients: every client of the daemon, for root.
 *
 * Invariant: the clients that hold the most bytes come first, so that a table cut off at a screen's end shows them.
 */

#include "ask.h"
#include "clients.h"
#include "format.h"
#include "table.h"
#include "verbs.h"

static int compare_clients(const void *a, const void *b) {
        const DmaHeapClient *x = *(const DmaHeapClient *const *) a, *y = *(const DmaHeapClient *const *) b;

        if (x->usage->bytes_used != y->usage->bytes_used)
                return x->usage->bytes_used < y->usage->bytes_used ? 1 : -1;
        return strcmp(x->cgroup, y->cgroup);
}

static void add_client(Table *t, const Options *o, const DmaHeapClient *c) {
        const DmaHeapUsage *u = c->usage;
        char buffer[FORMAT_MAX];

        table_add(t, CELL_PLAIN, c->unit ?: c->cgroup);
        table_add(t, CELL_PLAIN, format_count(c->uid, buffer));
        table_add(t, CELL_PLAIN, format_count(c->user, buffer));
        table_add(t, CELL_PLAIN, format_count(c->connections, buffer));
        table_add_used(t, format_size(u->bytes_used, o->bytes, buffer), u->bytes_used, u->bytes_max);
        table_add(t, CELL_PLAIN, format_size(u->bytes_max, o->bytes, buffer));
        table_add_used(t, format_count(u->buffers_used, buffer), u->buffers_used, u->buffers_max);
        table_add(t, CELL_PLAIN, format_count(u->buffers_max, buffer));
}

void print_clients(const Options *o, const DmaHeapReply *reply, size_t max_lines) {
        static const char *const headings[] = {
                "CLIENT",
                ">UID",
                ">USER",
                ">CONNECTIONS",
                ">BYTES",
                ">LIMIT",
                ">BUFFERS",
                ">LIMIT",
        };
        CLEANUP(table_freep) Table *t = table_new(ELEMENTS_OF(headings), headings);
        CLEANUP_FREE const DmaHeapClient **sorted = NULL;
        const DmaHeapClient *const *clients;
        size_t n;

        clients = dmaheap_reply_clients(reply, &n);
        sorted = reallocarray(NULL, n + 1, sizeof(*sorted));
        if (!sorted)
                return;
        for (size_t i = 0; i < n; i++)
                sorted[i] = clients[i];
        qsort(sorted, n, sizeof(*sorted), compare_clients);

        for (size_t i = 0; i < n; i++)
                add_client(t, o, sorted[i]);
        table_print(t, stdout, colours_wanted(), max_lines);
}

static void print_all_clients(const Options *o, const DmaHeapReply *reply) {
        print_clients(o, reply, 0);
}

int verb_clients(Options *o, int argc, char *argv[]) {
        return ask_and_print(o, argc, argv, dmaheap_list_clients, print_all_clients);
}
