/* SPDX-License-Identifier: MIT */
/*
 * dmaheapctl monitor: subscribes to the heaps and prints the differences between one reply and the next.
 *
 * Invariant: last is the reply that the printed lines describe, NULL before the first one.
 */

#include <stdarg.h>

#include "ask.h"
#include "format.h"
#include "list.h"
#include "verbs.h"

typedef struct Monitor {
        const Options *options;
        DmaHeapReply *last; /* owned */
        int status;         /* -1 while it goes on, then the ExitStatus */
} Monitor;

static const DmaHeapInfo *find_heap(const DmaHeapReply *reply, const char *name) {
        const DmaHeapInfo *const *heaps;
        size_t n;

        heaps = dmaheap_reply_heaps(reply, &n);
        for (size_t i = 0; i < n; i++)
                if (strcmp(heaps[i]->name, name) == 0)
                        return heaps[i];
        return NULL;
}

/* Prints the time, the name of a heap and a text, as one line. */
static void say(const char *heap, const char *format, ...) PRINTF_LIKE(2, 3);

static void say(const char *heap, const char *format, ...) {
        char buffer[FORMAT_MAX];
        va_list ap;

        (void) printf("%s %s: ", format_clock(buffer), heap);
        va_start(ap, format);
        (void) vprintf(format, ap);
        va_end(ap);
        (void) putchar('\n');
}

static void say_changes(const Options *o, const DmaHeapInfo *old, const DmaHeapInfo *new) {
        char a[FORMAT_MAX], b[FORMAT_MAX];

        if (!old) {
                say(new->name, "appeared, %s", state_name(new->state));
                return;
        }
        if (old->state != new->state)
                say(new->name,
                                "%s, was %s%s%s",
                                state_name(new->state),
                                state_name(old->state),
                                new->reason ? ": " : "",
                                new->reason ?: "");
        else if (!streq_ptr(old->reason, new->reason) && new->reason)
                say(new->name, "still %s: %s", state_name(new->state), new->reason);
        if (old->used != new->used)
                say(new->name,
                                "%s in use, was %s",
                                format_size(new->used, o->bytes, a),
                                format_size(old->used, o->bytes, b));
        if (old->size != new->size)
                say(new->name,
                                "size %s, was %s",
                                format_size(new->size, o->bytes, a),
                                format_size(old->size, o->bytes, b));
}

static void say_all_changes(const Options *o, const DmaHeapReply *old, const DmaHeapReply *new) {
        const DmaHeapInfo *const *heaps;
        size_t n;

        heaps = dmaheap_reply_heaps(new, &n);
        for (size_t i = 0; i < n; i++)
                say_changes(o, find_heap(old, heaps[i]->name), heaps[i]);

        heaps = dmaheap_reply_heaps(old, &n);
        for (size_t i = 0; i < n; i++)
                if (!find_heap(new, heaps[i]->name))
                        say(heaps[i]->name, "gone");
}

static void on_heaps(DmaHeapConnection *c, int r, DmaHeapReply *reply, DmaHeapError *error, void *userdata) {
        Monitor *m = userdata;

        (void) c;
        if (r < 0) {
                m->status = report_error(r, error);
                (void) dmaheap_error_free(error);
                return;
        }

        if (!print_json(m->options, reply)) {
                if (m->last)
                        say_all_changes(m->options, m->last, reply);
                else {
                        print_heaps(m->options, reply);
                        (void) putchar('\n');
                }
        }
        if (fflush(stdout) == EOF) {
                (void) dmaheap_reply_free(reply);
                m->status = EXIT_INTERFACE_ERROR; /* the reader has closed the pipe */
                return;
        }
        (void) dmaheap_reply_free(m->last);
        m->last = reply;
}

static int monitor_loop(Monitor *m, DmaHeapConnection *c) {
        int r;

        while (m->status < 0) {
                r = dmaheap_connection_wait(c, DMAHEAP_INFINITY);
                if (r >= 0)
                        r = dmaheap_connection_process(c);
                if (r < 0 && r != -EINTR)
                        return report_error(r, NULL);
        }
        return m->status;
}

int verb_monitor(Options *o, int argc, char *argv[]) {
        CLEANUP(connection_freep) DmaHeapConnection *c = NULL;
        CLEANUP(error_freep) DmaHeapError *error = NULL;
        Monitor m = { .options = o, .status = -1 };
        int r;

        r = parse_common_options(o, argc, argv);
        if (r <= 0)
                return r < 0 ? EXIT_USAGE : EXIT_OK;

        r = make_connection(o, &c);
        if (r != EXIT_OK)
                return r;

        /* Connect first, since this function gives a DmaHeapError and dmaheap_subscribe_heaps() only an errno. */
        r = dmaheap_connection_connect(c, &error);
        if (r >= 0)
                r = dmaheap_subscribe_heaps(c, on_heaps, &m);
        if (r < 0)
                return report_error(r, error);

        r = monitor_loop(&m, c);
        (void) dmaheap_reply_free(m.last);
        return r;
}
