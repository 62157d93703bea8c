/* SPDX-License-Identifier: MIT */
/*
 * dmaheapctl buffers: the buffers that still exist, and the clients they were handed to.
 *
 * Invariant: ages are never negative, also for a buffer that was allocated after the clock was read.
 */

#include <pwd.h>
#include <time.h>

#include "ask.h"
#include "format.h"
#include "table.h"
#include "verbs.h"

enum {
        OPTION_UNIT = OPTION_VERB,
        OPTION_UID,
};

/* Reads a uid or the name of a user. Returns 0, or -ENOENT. */
static int parse_uid(const char *s, uid_t *ret) {
        const struct passwd *pw;
        uint64_t n;

        if (parse_unsigned(s, UINT32_MAX - 1, &n) >= 0) {
                *ret = (uid_t) n;
                return 0;
        }
        pw = getpwnam(s);
        if (!pw)
                return -ENOENT;
        *ret = pw->pw_uid;
        return 0;
}

static uint64_t now_boottime_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_BOOTTIME, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

static void print_live_buffers(const Options *o, const DmaHeapReply *reply) {
        static const char *const headings[] = { ">ID", ">SIZE", "HEAP", "LABEL", "CLIENT", ">UID", ">USER", ">AGE" };
        CLEANUP(table_freep) Table *t = table_new(ELEMENTS_OF(headings), headings);
        const DmaHeapLiveBuffer *const *buffers;
        uint64_t now = now_boottime_usec(), total = 0;
        char buffer[FORMAT_MAX];
        size_t n;

        buffers = dmaheap_reply_live_buffers(reply, &n);
        for (size_t i = 0; i < n; i++) {
                const DmaHeapLiveBuffer *b = buffers[i];

                table_add(t, CELL_PLAIN, format_count(b->id, buffer));
                table_add(t, CELL_PLAIN, format_size(b->size, o->bytes, buffer));
                table_add(t, CELL_PLAIN, b->heap);
                table_add(t, CELL_PLAIN, b->label);
                table_add(t, CELL_PLAIN, b->unit ?: b->cgroup);
                table_add(t, CELL_PLAIN, format_count(b->uid, buffer));
                table_add(t, CELL_PLAIN, format_count(b->user, buffer));
                table_add(t, CELL_PLAIN, format_span(now > b->allocated_usec ? now - b->allocated_usec : 0, buffer));
                total += b->size;
        }
        table_print(t, stdout, colours_wanted(), 0);
        (void) printf("\n%zu buffer%s, %s in all.\n", n, n == 1 ? "" : "s", format_size(total, o->bytes, buffer));
}

static int parse_arguments(Options *o, int argc, char *argv[], const char **ret_unit, uid_t *ret_uid) {
        static const struct option options[] = {
                { "unit", required_argument, NULL, OPTION_UNIT },
                { "uid", required_argument, NULL, OPTION_UID },
                COMMON_OPTIONS,
                {},
        };
        int option, r;

        optind = 0;
        while ((option = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (option) {
                case OPTION_UNIT:
                        *ret_unit = optarg;
                        break;
                case OPTION_UID:
                        if (parse_uid(optarg, ret_uid) < 0) {
                                (void) usage_error("there is no user '%s'", optarg);
                                return -1;
                        }
                        break;
                default:
                        r = parse_common_option(o, option);
                        if (r <= 0)
                                return r;
                }

        return parse_no_arguments(o, argc, argv);
}

int verb_buffers(Options *o, int argc, char *argv[]) {
        CLEANUP(connection_freep) DmaHeapConnection *c = NULL;
        CLEANUP(reply_freep) DmaHeapReply *reply = NULL;
        CLEANUP(error_freep) DmaHeapError *error = NULL;
        const char *unit = NULL;
        uid_t uid = (uid_t) -1;
        int r;

        r = parse_arguments(o, argc, argv, &unit, &uid);
        if (r <= 0)
                return r < 0 ? EXIT_USAGE : EXIT_OK;

        r = make_connection(o, &c);
        if (r != EXIT_OK)
                return r;
        r = dmaheap_list_buffers(c, unit, uid, &reply, &error);
        if (r < 0)
                return report_error(r, error);

        if (!print_json(o, reply))
                print_live_buffers(o, reply);
        return EXIT_OK;
}
