/* SPDX-License-Identifier: MIT */
/* dmaheap.h needs no other header, and compiles as C99 and as C++11 (test-header.cc). */
#include "dmaheap.h"

int main(void) {
        DmaHeapConnection *c = 0;

        return dmaheap_connection_new("/nonexistent", &c) < 0 || dmaheap_connection_free(c) != 0;
}
