/* SPDX-License-Identifier: MIT */
/* Shared by the library's tests in C: a fake daemon (fake-daemon.py), and functions that examine the test process. */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "dmaheap.h"

/* Aborts the test if x is false, also in builds with NDEBUG. */
#define CHECK(x)                                                                                 \
        do {                                                                                     \
                if (!(x)) {                                                                      \
                        (void) fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #x); \
                        abort();                                                                 \
                }                                                                                \
        } while (0)

/* Makes a temporary folder and starts the fake daemon, listening on a socket there. script: the path of fake-daemon.py;
 * the string must live as long as the test. One fake daemon per process. */
void fake_setup(const char *script);

/* Kills the fake daemon and removes the folder. */
void fake_done(void);

/* The main() of a test: starts the fake daemon that argv[1] names, calls the functions of tests, which ends with NULL,
 * and checks that they left no fd open. Returns the exit status. */
int fake_run_tests(int argc, char *argv[], void (*const tests[])(void));

/* Starts the fake daemon again after fake_kill(), on the same socket. Returns when it listens. */
void fake_start(void);

/* Kills the fake daemon with SIGKILL and reaps it. Its socket stays, and refuses connections. */
void fake_kill(void);

/* Returns the pid of the fake daemon. */
pid_t fake_pid(void);

/* Returns the path of the fake daemon's socket. */
const char *fake_address(void);

/* Makes a connection object for that socket; it connects at its first call. The caller frees it. */
DmaHeapConnection *fake_connection(void);

/* Returns the number of fds below 1024 that are open in this process. */
size_t count_fds(void);

/* Returns the time of CLOCK_MONOTONIC in microseconds. */
uint64_t now(void);
