/* SPDX-License-Identifier: MIT */
/* Cleanup attributes, and the helpers that go with them. Header only: the library and the programs share it. */
#pragma once

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Calls function with the address of the variable when the variable goes out of scope. */
#define CLEANUP(function) __attribute__((__cleanup__(function)))
#define PRINTF_LIKE(format, first) __attribute__((__format__(__printf__, format, first)))

#define ELEMENTS_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Moves what a variable owns out of it: gives its value, and leaves NULL or -EBADF behind. */
#define TAKE_PTR(p)                                  \
        __extension__({                              \
                __typeof__(p) *taken_from_ = &(p);   \
                __typeof__(p) taken_ = *taken_from_; \
                *taken_from_ = NULL;                 \
                taken_;                              \
        })

#define TAKE_FD(fd)                        \
        __extension__({                    \
                int *taken_from_ = &(fd);  \
                int taken_ = *taken_from_; \
                *taken_from_ = -EBADF;     \
                taken_;                    \
        })

/* Closes an fd if it is not negative. Leaves errno alone. Returns -EBADF. */
static inline int fd_close(int fd) {
        if (fd >= 0) {
                int saved_errno = errno;
                (void) close(fd);
                errno = saved_errno;
        }
        return -EBADF;
}

static inline void fd_closep(int *fd) {
        *fd = fd_close(*fd);
}

static inline void freep(void *p) {
        free(*(void **) p);
}

/* Returns 1 if two strings are equal or both are NULL, else 0. */
static inline int streq_ptr(const char *a, const char *b) {
        return a && b ? strcmp(a, b) == 0 : a == b;
}

#define CLEANUP_FREE CLEANUP(freep)
#define CLEANUP_FD CLEANUP(fd_closep)
