/* SPDX-License-Identifier: MIT */
/*
 * dmaheapctl allocate: runs a command with buffers, or shows whether they can be allocated.
 *
 * Invariant: the command gets exactly the buffers as its fds from 3 on, in the order of the reply; every other fd of
 * this process above 2 is close-on-exec.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/resource.h>

#include "ask.h"
#include "format.h"
#include "shared/exec.h"
#include "verbs.h"

/* The first fd by the convention of sd_listen_fds(3). */
#define FDS_START 3

enum {
        OPTION_HEAP = OPTION_VERB,
        OPTION_ROLE,
        OPTION_COUNT,
        OPTION_READ_ONLY,
        OPTION_LABEL,
};

/* Moves the buffers' fds to 3, 4 and so on, where the command inherits them. Returns 0 or a negative errno. */
static int arrange_fds(DmaHeapReply *reply) {
        size_t n = dmaheap_reply_n_buffers(reply);
        int fds[DMAHEAP_BUFFERS_MAX];

        if (n > ELEMENTS_OF(fds))
                return -EPROTO;

        /* Move all of them above the target range first: dup2() would close a buffer that has another's number. */
        for (size_t i = 0; i < n; i++) {
                CLEANUP_FD int fd = dmaheap_reply_take_fd(reply, i);

                fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, FDS_START + (int) n);
                if (fds[i] < 0)
                        return -errno;
        }
        for (size_t i = 0; i < n; i++)
                if (dup2(fds[i], FDS_START + (int) i) < 0)
                        return -errno;
        return 0;
}

/* Sets LISTEN_FDNAMES to the heap's name, once for each fd, separated by colons; no heap name has one. Returns 0 or a
 * negative errno. */
static int set_names(const char *heap, size_t n) {
        CLEANUP_FREE char *names = NULL;
        size_t length = strlen(heap);
        char *p;

        names = malloc(n * (length + 1));
        if (!names)
                return -ENOMEM;
        p = names;
        for (size_t i = 0; i < n; i++) {
                p = mempcpy(p, heap, length);
                *p++ = i + 1 < n ? ':' : '\0';
        }
        return setenv("LISTEN_FDNAMES", names, true) < 0 ? -errno : 0;
}

static int set_environment(const DmaHeapReply *reply) {
        char number[FORMAT_MAX], pid[FORMAT_MAX];
        size_t n = dmaheap_reply_n_buffers(reply);

        /* exec() keeps the pid, so the command's is this one. */
        (void) snprintf(pid, sizeof(pid), "%d", getpid());
        (void) snprintf(number, sizeof(number), "%zu", n);
        if (setenv("LISTEN_PID", pid, true) < 0 || setenv("LISTEN_FDS", number, true) < 0 ||
                        unsetenv("LISTEN_PIDFDID") < 0)
                return -errno;
        return set_names(dmaheap_reply_heap(reply), n);
}

/* Becomes the command. Returns only on failure, an exit status. */
static int run_command(DmaHeapReply *reply, char *command[]) {
        int r;

        r = set_environment(reply);
        if (r >= 0)
                r = arrange_fds(reply);
        if (r < 0) {
                (void) fprintf(stderr, "dmaheapctl: cannot hand over the buffers: %s\n", strerror(-r));
                return EXIT_CANNOT_RUN;
        }

        return exec_command("dmaheapctl", command);
}

static void print_buffers(const Options *o, const DmaHeapReply *reply) {
        char size[FORMAT_MAX];

        for (size_t i = 0; i < dmaheap_reply_n_buffers(reply); i++) {
                const DmaHeapBuffer *b = dmaheap_reply_buffer(reply, i);

                (void) printf("buffer %" PRIu64 ": %s from heap %s\n",
                                b->id,
                                format_size(b->size, o->bytes, size),
                                dmaheap_reply_heap(reply));
        }
}

/* Raises the soft limit of open fds to 1024 or the hard limit, since one reply may bring DMAHEAP_BUFFERS_MAX of
 * them. */
static void raise_fd_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) >= 0 && limit.rlim_cur < 1024) {
                limit.rlim_cur = limit.rlim_max < 1024 ? limit.rlim_max : 1024;
                (void) setrlimit(RLIMIT_NOFILE, &limit);
        }
}

/* Stores an option of the command or a common one. Returns as parse_common_option(). */
static int parse_option(Options *o, DmaHeapRequest *request, int option) {
        uint64_t n;

        switch (option) {
        case OPTION_HEAP:
                request->heap = optarg;
                return 1;
        case OPTION_ROLE:
                request->role = optarg;
                return 1;
        case OPTION_LABEL:
                request->label = optarg;
                return 1;
        case OPTION_READ_ONLY:
                request->flags |= DMAHEAP_READ_ONLY;
                return 1;
        case OPTION_COUNT:
        case 'n':
                /* To the library 0 means 1: refuse it here. */
                if (parse_unsigned(optarg, UINT_MAX, &n) < 0 || n == 0) {
                        (void) usage_error("'%s' is not a number of buffers, which is 1 to %d",
                                        optarg,
                                        DMAHEAP_BUFFERS_MAX);
                        return -1;
                }
                request->count = (unsigned) n;
                return 1;
        default:
                return parse_common_option(o, option);
        }
}

/* Parses everything before the optional COMMAND. *ret_command: the COMMAND and its arguments, NULL if there is none.
 * Returns as parse_common_option(). */
static int parse_arguments(Options *o, DmaHeapRequest *request, int argc, char *argv[], char ***ret_command) {
        static const struct option options[] = {
                { "heap", required_argument, NULL, OPTION_HEAP },
                { "role", required_argument, NULL, OPTION_ROLE },
                { "count", required_argument, NULL, OPTION_COUNT },
                { "read-only", no_argument, NULL, OPTION_READ_ONLY },
                { "label", required_argument, NULL, OPTION_LABEL },
                COMMON_OPTIONS,
                {},
        };
        int option, r;

        optind = 0;
        while ((option = getopt_long(argc, argv, "hn:", options, NULL)) >= 0) {
                r = parse_option(o, request, option);
                if (r <= 0)
                        return r;
        }

        if (optind >= argc) {
                (void) usage_error("allocate needs a SIZE, as in: dmaheapctl allocate 8M");
                return -1;
        }
        if (parse_size(argv[optind], &request->size) < 0) {
                (void) usage_error("'%s' is not a size, which is a number of bytes, "
                                   "with K, M, G or T after it if you like",
                                argv[optind]);
                return -1;
        }
        if (request->heap && request->role) {
                (void) usage_error("--heap and --role exclude each other");
                return -1;
        }

        *ret_command = argv[optind + 1] ? argv + optind + 1 : NULL;
        return 1;
}

int verb_allocate(Options *o, int argc, char *argv[]) {
        CLEANUP(connection_freep) DmaHeapConnection *c = NULL;
        CLEANUP(reply_freep) DmaHeapReply *reply = NULL;
        CLEANUP(error_freep) DmaHeapError *error = NULL;
        DmaHeapRequest request = {};
        char **command = NULL;
        bool json;
        int r;

        r = parse_arguments(o, &request, argc, argv, &command);
        if (r <= 0)
                return r < 0 ? EXIT_USAGE : EXIT_OK;

        raise_fd_limit();
        r = make_connection(o, &c);
        if (r != EXIT_OK)
                return r;
        r = dmaheap_allocate(c, &request, &reply, &error);
        if (r < 0)
                return report_error(r, error);

        json = print_json(o, reply);
        if (command)
                return run_command(reply, command);
        if (!json)
                print_buffers(o, reply);
        return EXIT_OK;
}
