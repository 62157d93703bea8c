/* SPDX-License-Identifier: MIT */
/* What the tests of the library share: a fake daemon (fake-daemon.py), and ways to look at this process. */
#pragma once

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dmaheap.h"

/* Fails the test, in builds without assertions too. */
#define CHECK(x)                                                                               \
        do {                                                                                   \
                if (!(x)) {                                                                    \
                        (void) fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #x); \
                        abort();                                                               \
                }                                                                              \
        } while (0)

/* Makes a folder for the socket and starts the daemon, a Python script of that name; and the other way round. */
void fake_setup(const char *script);
void fake_done(void);

/* The main() of a test: with the daemon, runs all of them up to NULL, and checks that no fd is left open. */
int fake_run_tests(int argc, char *argv[], void (*const tests[])(void));

/* Starts the daemon, and waits until it listens; kills it. */
void fake_start(void);
void fake_kill(void);

/* Its socket, and a new connection, which connects when it is used first. */
const char *fake_address(void);
DmaHeapConnection *fake_connection(void);

/* How many fds are open in this process. */
size_t count_fds(void);

/* CLOCK_MONOTONIC, in microseconds. */
uint64_t now(void);
