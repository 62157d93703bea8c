/* SPDX-License-Identifier: MIT */
/*
 * The table of commands and their help.
 *
 * Invariant: a command exists exactly if it is in the table. The tests of the completions and of the man page read
 * commands and options from this text, so each option begins a line of its own, indented by two blanks.
 */

#include "dmaheap.h"
#include "help.h"

#define COMMON_HELP                                                                                \
        "  --json=pretty|short  print the parameters of the daemon's reply as JSON, unchanged\n"   \
        "  --bytes              print sizes as plain numbers of bytes\n"                           \
        "  --timeout=TIME       how long to wait for an answer: 30, 500ms, 2min, infinity (45s)\n" \
        "  --address=PATH       the daemon's socket (" DMAHEAP_ADDRESS ")\n"

/* The help as it is printed, line by line. */
/* clang-format off */
static const Verb verbs[] = {
        {
                .name = "list",
                .function = verb_list,
                .arguments = "",
                .summary = "show the heaps that exist, and those that can be loaded",
                .description =
                        "Shows every heap that exists in /dev/dma_heap, and every heap that a kernel module\n"
                        "would provide ('loadable': the first allocation loads the module). The columns are the\n"
                        "heap's state, the roles it serves, its size if it is bounded, how much of it is used, who\n"
                        "charges a client's cgroup for its memory, its region of memory and its kernel module.\n",
                .rest = "Example:\n"
                        "  dmaheapctl list --json=short | jq -r '.heaps[] | select(.state == \"ready\") | .name'\n",
        },
        {
                .name = "allocate",
                .function = verb_allocate,
                .arguments = "[OPTIONS] SIZE [-- COMMAND ...]",
                .summary = "allocate buffers, and run a command that uses them",
                .description =
                        "Allocates dma-bufs of SIZE bytes each (with K, M, G or T: 8M), all of them or none.\n"
                        "With COMMAND, runs it with the buffers as file descriptors 3, 4, ...; LISTEN_FDS is their\n"
                        "number. Without COMMAND, prints a line for each buffer and frees them.\n",
                .options =
                        "  --role=ROLE          what the memory is for: system (the default), contiguous, protected\n"
                        "  --heap=NAME          the heap's name, as 'dmaheapctl list' shows it\n"
                        "  -n, --count=N        how many buffers, 1 to 253 (1)\n"
                        "  --read-only          the buffers cannot be mapped for writing\n"
                        "  --label=TEXT         the buffers' name in the kernel's lists and in 'dmaheapctl buffers'\n",
                .rest = "Examples:\n"
                        "  dmaheapctl allocate 8M\n"
                        "  dmaheapctl allocate --role=contiguous --count=4 8M -- camera-test --fds=3,4,5,6\n"
                        "  dmaheapctl allocate 1M -- sh -c 'cat /proc/self/fdinfo/3'\n"
                        "\n"
                        "The exit status is COMMAND's, 126 if it could not be run, or 127 if it was not found.\n",
        },
        {
                .name = "usage",
                .function = verb_usage,
                .arguments = "",
                .summary = "show how much you hold, and may hold",
                .description =
                        "Shows how much this client holds and may hold, in all and in each heap. A client is the\n"
                        "systemd unit or cgroup that dmaheapctl runs in, together with your uid. Shows the same\n"
                        "for all your clients together, and how much memory the cgroup can still take.\n",
        },
        {
                .name = "clients",
                .function = verb_clients,
                .arguments = "",
                .summary = "show every client that is connected or holds buffers (root only)",
                .description =
                        "Shows each client that is connected or holds buffers: its systemd unit (or its cgroup if\n"
                        "it has no unit), its uid, the user whose limit applies to it, its open connections, and\n"
                        "how much it holds and may hold.\n",
        },
        {
                .name = "buffers",
                .function = verb_buffers,
                .arguments = "[--unit=UNIT] [--uid=USER]",
                .summary = "show every buffer that still exists, and its client (root only)",
                .description =
                        "Shows each buffer that was handed out and still exists, with the client that it was\n"
                        "handed to. That client is charged for it, even if another process holds the buffer now.\n",
                .options =
                        "  --unit=UNIT          only buffers of this systemd unit\n"
                        "  --uid=USER           only buffers of this user, by number or name\n",
                .rest = "Example, the largest buffer:\n"
                        "  dmaheapctl buffers --json=short | jq '.buffers | sort_by(-.size) | .[0]'\n",
        },
        {
                .name = "info",
                .function = verb_info,
                .arguments = "",
                .summary = "show the daemon's version, and how it counts the kernel's buffers",
                .description =
                        "Shows the daemon's name and version, and how it counts the buffers that exist in the\n"
                        "kernel: 'bpf' is a BPF program that reads the kernel's list, 'debugfs' a file of debugfs,\n"
                        "the fallback. If neither works, it shows why.\n",
        },
        {
                .name = "monitor",
                .function = verb_monitor,
                .arguments = "",
                .summary = "show the heaps, and then each change",
                .description =
                        "Shows the heaps, and then a line for each change: a heap appears, becomes ready or fails, or\n"
                        "the amount of it that is used changes. Ends when it is interrupted or the daemon goes away.\n"
                        "With --json=, prints each reply as a whole.\n",
        },
        {
                .name = "top",
                .function = verb_top,
                .arguments = "[--delay=TIME] [--iterations=N]",
                .summary = "show heaps and, for root, clients, again every second",
                .description =
                        "Shows the heaps and the clients, those that hold most first, and again every second. On a\n"
                        "terminal, the key q ends it. Users other than root see their own usage only.\n",
                .options =
                        "  -d, --delay=TIME     how long to wait between two views: 1, 500ms (1s)\n"
                        "  -n, --iterations=N   end after N views\n",
        },
};
/* clang-format on */

const Verb *verb_find(const char *name) {
        for (size_t i = 0; i < ELEMENTS_OF(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return verbs + i;
        return NULL;
}

void print_verb_help(const Verb *verb) {
        (void) printf("dmaheapctl %s%s%s\n\n%s\nOptions:\n%s" COMMON_HELP "%s%s",
                        verb->name,
                        *verb->arguments ? " " : "",
                        verb->arguments,
                        verb->description,
                        verb->options ?: "",
                        verb->rest ? "\n" : "",
                        verb->rest ?: "");
}

void print_help(void) {
        (void) printf("dmaheapctl [OPTIONS] COMMAND ...\n"
                      "\n"
                      "Allocates dma-bufs from dmaheapd, and shows heaps, limits and buffers.\n"
                      "\n"
                      "Commands:\n");
        for (size_t i = 0; i < ELEMENTS_OF(verbs); i++)
                (void) printf("  %-20s %s\n", verbs[i].name, verbs[i].summary);
        (void) printf("\n"
                      "Options, before a command or after it:\n"
                      "  -h, --help           print this text, or after a command that command's help\n"
                      "  --version            print the version\n" COMMON_HELP "\n"
                      "Exit status: 0 for success, 1 for an error of the daemon (its name is on standard error),\n"
                      "2 for a wrong command line, 3 if the daemon cannot be reached.\n"
                      "\n"
                      "To begin with:\n"
                      "  dmaheapctl list                        show the heaps\n"
                      "  dmaheapctl allocate 8M                 try whether 8 MiB can be allocated\n"
                      "  dmaheapctl allocate --help             explain allocate and its options\n"
                      "\n"
                      "See dmaheapctl(1) and dmaheapd(8).\n");
}
