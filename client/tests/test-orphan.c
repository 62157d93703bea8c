/* SPDX-License-Identifier: MIT */
/* A test in C as test-orphan.py kills it: test-orphan FAKE-DAEMON starts the fake daemon, prints its pid and waits for
 * a signal. */

#include <unistd.h>

#include "fake.h"

int main(int argc, char *argv[]) {
        CHECK(argc == 2);
        fake_setup(argv[1]);
        CHECK(printf("%d\n%s\n", (int) fake_pid(), fake_address()) > 0 && fflush(stdout) == 0);
        for (;;)
                (void) pause();
}
