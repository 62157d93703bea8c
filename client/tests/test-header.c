/* SPDX-License-Identifier: MIT */
/* dmaheap.h by itself, in C as old as C99 and in C++: that it compiles is the test. */
#include "dmaheap.h"

int main(void) {
        DmaHeapConnection *c = 0;

        return dmaheap_connection_new("/nonexistent", &c) < 0 || dmaheap_connection_free(c) != 0;
}
