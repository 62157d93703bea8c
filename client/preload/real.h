/* SPDX-License-Identifier: MIT */
/* The C library's own functions, which this library takes the place of. */
#pragma once

/* The C library's function of that name, with its type. */
#define REAL(function)                                                      \
        __extension__({                                                     \
                static void *cached_;                                       \
                (__typeof__(&function)) real_function(&cached_, #function); \
        })

/* Returns the next definition of a function after this library's, from *cache if it was looked up before. Aborts if
 * there is none. Any number of threads may call it with the same cache. */
void *real_function(void **cache, const char *name);
