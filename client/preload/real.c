/* SPDX-License-Identifier: MIT */

#include <dlfcn.h>

#include "preload.h"

void *real_function(void **cache, const char *name) {
        void *f = __atomic_load_n(cache, __ATOMIC_RELAXED);

        /* Every thread that comes here at once finds the same. */
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
