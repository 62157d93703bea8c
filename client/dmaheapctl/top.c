/* SPDX-License-Identifier: MIT */
/*
 * dmaheapctl top: heaps and clients, again after each delay.
 *
 * Invariant: while screen or keys is set, the terminal is changed; top_end() restores it before the program exits, also
 * when a signal ends it.
 */

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "ask.h"
#include "clients.h"
#include "format.h"
#include "list.h"
#include "usage.h"
#include "verbs.h"

/* The alternate screen has no cursor, and cuts off lines at its edge instead of wrapping them. */
#define ALTERNATE_SCREEN "\033[?1049h\033[?25l\033[?7l"
#define NORMAL_SCREEN "\033[?7h\033[?25h\033[?1049l"
#define HOME "\033[H"
#define CLEAR_BELOW "\033[J"

enum {
        OPTION_DELAY = OPTION_VERB,
        OPTION_ITERATIONS,
};

typedef struct Top {
        const Options *options;
        uint64_t delay_usec;
        uint64_t iterations;  /* 0 for no limit */
        bool screen;          /* standard output is a terminal that shows the alternate screen */
        bool keys;            /* standard input is a terminal that gives each key at once */
        struct termios saved; /* of standard input, to be restored; valid while keys is set */
} Top;

/* For the signal handler, which has no argument. */
static Top *top_shown;

/* Restores the terminal. Does nothing the second time. Only calls functions that a signal handler may call. */
static void top_end(Top *t) {
        if (t->keys)
                (void) tcsetattr(STDIN_FILENO, TCSANOW, &t->saved);
        if (t->screen)
                (void) !write(STDOUT_FILENO, NORMAL_SCREEN, strlen(NORMAL_SCREEN));
        t->keys = t->screen = false;
}

/* Exits in the handler, since the program may be waiting for a daemon that does not answer. */
static void on_signal(int signal) {
        (void) signal;
        top_end(top_shown);
        _exit(EXIT_OK);
}

static void top_begin(Top *t) {
        static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
        struct termios raw;

        top_shown = t;
        for (size_t i = 0; i < ELEMENTS_OF(signals); i++)
                (void) sigaction(signals[i], &(struct sigaction) { .sa_handler = on_signal }, NULL);

        t->screen = isatty(STDOUT_FILENO) && t->options->json == JSON_OFF && t->iterations != 1;
        if (!t->screen)
                return;
        (void) fputs(ALTERNATE_SCREEN, stdout);
        (void) fflush(stdout);

        if (tcgetattr(STDIN_FILENO, &t->saved) >= 0) {
                raw = t->saved;
                raw.c_lflag &= ~(tcflag_t) (ICANON | ECHO);
                raw.c_lflag |= NOFLSH; /* otherwise Ctrl-C discards output, and with it what on_signal() writes */
                t->keys = tcsetattr(STDIN_FILENO, TCSANOW, &raw) >= 0;
        }
}

static size_t screen_lines(void) {
        struct winsize size = {};

        return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) >= 0 && size.ws_row > 0 ? size.ws_row : 24;
}

static void print_clock(void) {
        char buffer[FORMAT_MAX];

        (void) printf("dmaheapctl top, %s\n\n", format_clock(buffer));
}

/* Returns the max_lines of the clients' table: what fits below the clock and the heaps, 2 at the least. 0 if there is
 * no screen. */
static size_t lines_for_clients(const Top *t, size_t n_heaps) {
        size_t taken = n_heaps + 6, lines = screen_lines();

        if (!t->screen)
                return 0;
        return lines > taken + 2 ? lines - taken : 2;
}

/* Asks for the heaps and the clients, and prints them; for a user who may not list clients, its own usage. Returns an
 * ExitStatus. */
static int show_once(Top *t, DmaHeapConnection *c) {
        CLEANUP(reply_freep) DmaHeapReply *heaps = NULL, *users = NULL;
        CLEANUP(error_freep) DmaHeapError *error = NULL;
        bool everyone = true;
        size_t n_heaps;
        int r;

        r = dmaheap_list_heaps(c, &heaps, &error);
        if (r >= 0)
                r = dmaheap_list_clients(c, &users, &error);
        if (r == -EPERM) {
                error = dmaheap_error_free(error);
                everyone = false;
                r = dmaheap_get_usage(c, &users, &error);
        }
        if (r < 0) {
                top_end(t); /* the alternate screen would take the message with it */
                return report_error(r, error);
        }

        if (print_json(t->options, heaps)) {
                (void) print_json(t->options, users);
                return EXIT_OK;
        }

        if (t->screen)
                (void) fputs(HOME CLEAR_BELOW, stdout);
        print_clock();
        print_heaps(t->options, heaps);
        (void) putchar('\n');
        (void) dmaheap_reply_heaps(heaps, &n_heaps);
        if (everyone)
                print_clients(t->options, users, lines_for_clients(t, n_heaps));
        else
                print_usage(t->options, users);
        return EXIT_OK;
}

/* Waits for the delay, or for a key. Returns whether to go on. */
static bool wait_for_next(const Top *t) {
        struct pollfd keys = { .fd = t->keys ? STDIN_FILENO : -1, .events = POLLIN };
        struct timespec ts = {
                .tv_sec = (time_t) (t->delay_usec / 1000000),
                .tv_nsec = (long) (t->delay_usec % 1000000 * 1000),
        };
        char key;

        if (ppoll(&keys, 1, &ts, NULL) < 0)
                return errno == EINTR;
        if (keys.revents) {
                ssize_t n = read(STDIN_FILENO, &key, 1);

                return n == 1 && key != 'q' && key != 'Q';
        }
        return true;
}

static int top_loop(Top *t, DmaHeapConnection *c) {
        int r;

        for (uint64_t i = 1;; i++) {
                r = show_once(t, c);
                if (r != EXIT_OK || fflush(stdout) == EOF)
                        return r;
                if (i == t->iterations || !wait_for_next(t))
                        return EXIT_OK;
                if (!t->screen && t->options->json == JSON_OFF)
                        (void) putchar('\n');
        }
}

static int parse_arguments(Top *t, Options *o, int argc, char *argv[]) {
        static const struct option options[] = {
                { "delay", required_argument, NULL, OPTION_DELAY },
                { "iterations", required_argument, NULL, OPTION_ITERATIONS },
                COMMON_OPTIONS,
                {},
        };
        int option, r;

        optind = 0;
        while ((option = getopt_long(argc, argv, "hd:n:", options, NULL)) >= 0)
                switch (option) {
                case OPTION_DELAY:
                case 'd':
                        /* The daemon counts the kernel's buffers for each view, so 100 ms is the shortest delay. */
                        if (parse_usec(optarg, &t->delay_usec) < 0 || t->delay_usec < 100000 ||
                                        t->delay_usec > UINT64_C(86400000000)) {
                                (void) usage_error("'%s' is not a delay, which is 100ms to a day", optarg);
                                return -1;
                        }
                        break;
                case OPTION_ITERATIONS:
                case 'n':
                        if (parse_unsigned(optarg, UINT64_MAX, &t->iterations) < 0 || t->iterations == 0) {
                                (void) usage_error("'%s' is not a number of iterations", optarg);
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

int verb_top(Options *o, int argc, char *argv[]) {
        CLEANUP(connection_freep) DmaHeapConnection *c = NULL;
        Top t = { .options = o, .delay_usec = 1000000 };
        int r;

        r = parse_arguments(&t, o, argc, argv);
        if (r <= 0)
                return r < 0 ? EXIT_USAGE : EXIT_OK;

        r = make_connection(o, &c);
        if (r != EXIT_OK)
                return r;

        top_begin(&t);
        r = top_loop(&t, c);
        top_end(&t);
        return r;
}
