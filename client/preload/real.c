/* SPDX-License-Identifier: MIT */
/*
 * The C library's own functions.
 *
 * Invariant: a cache is either NULL or the function; every thread that looks it up stores the same value.
 */

#include <dlfcn.h>

#include <stdio.h>
#include <stdlib.h>

#include "real.h"

void *real_function(void **cache, const char *name) {
        void *f = __atomic_load_n(cache, __ATOMIC_RELAXED);

        if (!f) {
                f = dlsym(RTLD_NEXT, name);
                if (!f) {
                        (void) fprintf(stderr, "libdmaheap-preload: no %s to be found in the C library\n", name);
                        abort();
                }
                __atomic_store_n(cache, f, __ATOMIC_RELAXED);
        }
        return f;
}
