/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* Cleanup attributes and the few macros that every file uses. As in systemd, a local variable owns what it points to
 * until that is taken, so an early return needs no unwinding. */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_ __attribute__((unused))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Moves the value out of a variable and leaves the unset value behind. */
#define TAKE_GENERIC(var, type, unset) \
        ({                             \
                type *_var = &(var);   \
                type _taken = *_var;   \
                *_var = (unset);       \
                _taken;                \
        })
#define TAKE_PTR(ptr) TAKE_GENERIC(ptr, typeof(ptr), NULL)
#define TAKE_FD(fd) TAKE_GENERIC(fd, int, -EBADF)

/* Defines OBJECT_freep() for use with _cleanup_(), from an OBJECT_free() that accepts NULL and returns NULL. */
#define DEFINE_CLEANUP(type, free_function)             \
        static inline void free_function##p(type **p) { \
                free_function(*p);                      \
        }

static inline void freep(void *p) {
        free(*(void **) p);
}
#define _cleanup_free_ _cleanup_(freep)

static inline bool streq(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

/* Like streq(), where either side may be NULL; two NULLs are equal. */
static inline bool streq_ptr(const char *a, const char *b) {
        return a && b ? streq(a, b) : a == b;
}

static inline bool startswith(const char *s, const char *prefix) {
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* The largest errno that a system call returns (MAX_ERRNO of the kernel's include/linux/err.h). */
#define ERRNO_MAX 4095

#define USEC_PER_SEC ((uint64_t) 1000000)
#define USEC_PER_MSEC ((uint64_t) 1000)
