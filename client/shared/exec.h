/* SPDX-License-Identifier: MIT */
/* Running the command that a program was given. Header only: the programs share it. */
#pragma once

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The exit status of a shell whose command cannot be run, or cannot be found. */
enum {
        EXIT_CANNOT_RUN = 126,
        EXIT_NOT_FOUND = 127,
};

/* Becomes the command argv, which ends with NULL. Returns only on failure: the exit status, after a message of program
 * on standard error. */
static inline int exec_command(const char *program, char *argv[]) {
        int error;

        (void) fflush(NULL);
        (void) execvp(argv[0], argv);
        error = errno;
        (void) fprintf(stderr, "%s: cannot run %s: %s\n", program, argv[0], strerror(error));
        return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN;
}
