/* SPDX-License-Identifier: MIT */
/*
 * dmaheapctl list: the heaps.
 *
 * Invariant: a heap that cannot be used has its reason below the table.
 */

#include "ask.h"
#include "format.h"
#include "list.h"
#include "table.h"
#include "verbs.h"

const char *state_name(DmaHeapState state) {
        switch (state) {
        case DMAHEAP_STATE_READY:
                return "ready";
        case DMAHEAP_STATE_LOADABLE:
                return "loadable";
        case DMAHEAP_STATE_FAILED:
                return "failed";
        default:
                return "unknown";
        }
}

static CellStyle state_style(DmaHeapState state) {
        switch (state) {
        case DMAHEAP_STATE_READY:
                return CELL_GOOD;
        case DMAHEAP_STATE_FAILED:
                return CELL_BAD;
        default:
                return CELL_WARNING;
        }
}

static void add_roles(Table *t, const char *const *roles) {
        CLEANUP_FREE char *joined = NULL;
        size_t n = 1;

        for (size_t i = 0; roles[i]; i++)
                n += strlen(roles[i]) + 1;
        joined = calloc(1, n);
        if (!joined)
                return table_add(t, CELL_PLAIN, NULL);

        for (size_t i = 0; roles[i]; i++) {
                if (i > 0)
                        (void) strcat(joined, ",");
                (void) strcat(joined, roles[i]);
        }
        table_add(t, CELL_PLAIN, joined);
}

void print_heaps(const Options *o, const DmaHeapReply *reply) {
        static const char *const headings[] = {
                "HEAP",
                "STATE",
                "ROLES",
                ">SIZE",
                ">USED",
                "CHARGED BY",
                "REGION",
                "MODULE",
        };
        CLEANUP(table_freep) Table *t = table_new(ELEMENTS_OF(headings), headings);
        const DmaHeapInfo *const *heaps;
        char buffer[FORMAT_MAX];
        size_t n;

        heaps = dmaheap_reply_heaps(reply, &n);
        for (size_t i = 0; i < n; i++) {
                const DmaHeapInfo *h = heaps[i];

                table_add(t, CELL_PLAIN, h->name);
                table_add(t, state_style(h->state), state_name(h->state));
                add_roles(t, h->roles);
                table_add(t, CELL_PLAIN, format_size(h->size, o->bytes, buffer));
                table_add(t, CELL_PLAIN, format_size(h->used, o->bytes, buffer));
                table_add(t,
                                CELL_PLAIN,
                                h->accounting == DMAHEAP_ACCOUNTING_KERNEL                 ? "kernel" :
                                                h->accounting == DMAHEAP_ACCOUNTING_DAEMON ? "daemon" :
                                                                                             NULL);
                table_add(t, CELL_PLAIN, h->region);
                table_add(t, CELL_PLAIN, h->module);
        }
        table_print(t, stdout, colours_wanted(), 0);

        for (size_t i = 0; i < n; i++)
                if (heaps[i]->reason)
                        (void) printf("%s: %s\n", heaps[i]->name, heaps[i]->reason);
}

int verb_list(Options *o, int argc, char *argv[]) {
        return ask_and_print(o, argc, argv, dmaheap_list_heaps, print_heaps);
}
