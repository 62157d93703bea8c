/* SPDX-License-Identifier: MIT */

#include "dmaheap.h"
#include "help.h"

#define COMMON_HELP                                                                                        \
        "  --json=pretty|short  print the parameters of the daemon's reply, unchanged\n"                   \
        "  --bytes              print sizes as plain numbers of bytes\n"                                   \
        "  --timeout=TIME       how long to wait for an answer: 30, 500ms, 2min, infinity (45s)\n"         \
        "  --address=PATH       the daemon's socket (" DMAHEAP_ADDRESS ")\n"

static const Verb verbs[] = {
        {
                .name = "list",
                .function = verb_list,
                .arguments = "",
                .summary = "the heaps there are, and those that could be loaded",
                .description =
                        "Shows every heap that exists under /dev/dma_heap, and every one that a kernel module would\n"
                        "provide ('loadable': the first allocation loads it), with what it is good for, how big it is if\n"
                        "it is bounded, how much of it is in use, and who charges a client's cgroup for its memory.\n",
                .rest = "Example:\n"
                        "  dmaheapctl list --json=short | jq -r '.heaps[] | select(.state == \"ready\") | .name'\n",
        },
        {
                .name = "allocate",
                .function = verb_allocate,
                .arguments = "[OPTIONS] SIZE [-- COMMAND ...]",
                .summary = "allocate buffers, and run a command that uses them",
                .description =
                        "Allocates dma-bufs of SIZE bytes each (K, M, G, T allowed: 8M), all of them or none.\n"
                        "With a COMMAND, runs it with the buffers as file descriptors 3, 4, ...; LISTEN_FDS says how many\n"
                        "there are. Without one, says what was received, a line for each buffer, and gives it back.\n",
                .options =
                        "  --role=ROLE          what the memory is for: system (the default), contiguous, protected\n"
                        "  --heap=NAME          the heap itself, as 'dmaheapctl list' names it\n"
                        "  -n, --count=N        how many buffers (1)\n"
                        "  --read-only          the command cannot map them for writing\n"
                        "  --label=TEXT         name them, so that they can be told apart in the kernel's lists\n",
                .rest = "Examples:\n"
                        "  dmaheapctl allocate 8M\n"
                        "  dmaheapctl allocate --role=contiguous --count=4 8M -- camera-test --fds=3,4,5,6\n"
                        "  dmaheapctl allocate 1M -- sh -c 'cat /proc/self/fdinfo/3'\n"
                        "\n"
                        "The exit status is COMMAND's, or 126 or 127 if it could not be run.\n",
        },
        {
                .name = "usage",
                .function = verb_usage,
                .arguments = "",
                .summary = "what you hold, and may hold",
                .description =
                        "Shows how much this client (the systemd unit or cgroup you call from, and your uid) holds and may\n"
                        "hold, the same for all that you run together, for each heap, and what your cgroup can still take.\n",
        },
        {
                .name = "clients",
                .function = verb_clients,
                .arguments = "",
                .summary = "everyone who holds something or is connected (root only)",
                .description =
                        "Shows each client: its systemd unit, or its cgroup where there is none, its uid, the user whose\n"
                        "limit holds for it, its open connections, and how much it holds and may hold.\n",
        },
        {
                .name = "buffers",
                .function = verb_buffers,
                .arguments = "[--unit=UNIT] [--uid=USER]",
                .summary = "every buffer that is still alive, and whose it is (root only)",
                .description =
                        "Shows the buffers that were handed out and that the kernel still has, with the client they were\n"
                        "handed to: it pays for them, even if another process holds them by now.\n",
                .options =
                        "  --unit=UNIT          only those of this systemd unit\n"
                        "  --uid=USER           only those of this user, by number or name\n",
                .rest = "Example, who holds the most:\n"
                        "  dmaheapctl buffers --json=short | jq '.buffers | sort_by(-.size) | .[0]'\n",
        },
        {
                .name = "info",
                .function = verb_info,
                .arguments = "",
                .summary = "the daemon's version, and how it counts the kernel's buffers",
                .description =
                        "Shows which daemon answers, and what it counts the buffers by that the kernel still has: 'bpf', a\n"
                        "program on the kernel's own list, or 'debugfs', where that cannot be had; or why neither can.\n",
        },
        {
                .name = "monitor",
                .function = verb_monitor,
                .arguments = "",
                .summary = "the heaps, and then every change",
                .description =
                        "Shows the heaps, and then a line for whatever changes: a heap that comes, becomes ready or fails,\n"
                        "and how much of it is used. Goes on until interrupted, or until the daemon goes away.\n"
                        "With --json=, prints each reply whole.\n",
        },
        {
                .name = "top",
                .function = verb_top,
                .arguments = "[--delay=TIME] [--iterations=N]",
                .summary = "a live view: heaps and, for root, clients",
                .description =
                        "Shows the heaps and who uses them, the biggest first, and does so again every second. On a\n"
                        "terminal, q ends it. Those who are not root see themselves only.\n",
                .options =
                        "  -d, --delay=TIME     how long to wait in between: 1, 500ms (1s)\n"
                        "  -n, --iterations=N   stop after so many\n",
        },
};

const Verb *verb_find(const char *name) {
        for (size_t i = 0; i < ELEMENTS_OF(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return verbs + i;
        return NULL;
}

void print_verb_help(const Verb *verb) {
        (void) printf("dmaheapctl %s%s%s\n\n%s\nOptions:\n%s" COMMON_HELP "%s%s", verb->name, *verb->arguments ? " " : "",
                      verb->arguments, verb->description, verb->options ?: "", verb->rest ? "\n" : "", verb->rest ?: "");
}

void print_help(void) {
        (void) printf("dmaheapctl [OPTIONS] COMMAND ...\n"
                      "\n"
                      "Allocates dma-bufs from dmaheapd, and shows what there is.\n"
                      "\n"
                      "Commands:\n");
        for (size_t i = 0; i < ELEMENTS_OF(verbs); i++)
                (void) printf("  %-20s %s\n", verbs[i].name, verbs[i].summary);
        (void) printf("\n"
                      "Options, before a command or after it:\n"
                      "  -h, --help           this, or after a command, what it does and takes\n"
                      "  --version            the version\n"
                      COMMON_HELP
                      "\n"
                      "Exit status: 0 for success, 1 for an error of the daemon (its name is on standard error),\n"
                      "2 for a wrong command line, 3 if there is no daemon to reach.\n"
                      "\n"
                      "To begin with:\n"
                      "  dmaheapctl list                        what memory is there\n"
                      "  dmaheapctl allocate 8M                 can I have 8 MiB\n"
                      "  dmaheapctl allocate --help             all about allocating\n"
                      "\n"
                      "See dmaheapctl(1) and dmaheapd(8).\n");
}
