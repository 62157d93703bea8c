/* SPDX-License-Identifier: GPL-2.0-only */

/* Prints how many thousand times a second this processor's time stamp counter goes up, for a kernel that runs on an
 * emulated processor: it would find out with timers that a busy host keeps late, and its clock could run at many times
 * the speed of ours. */

#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

typedef struct Sample {
        uint64_t ticks;
        double seconds;
} Sample;

/* Both clocks at one moment: the best of some tries, since anything may come between the two. */
static Sample take_sample(void) {
        uint64_t best = UINT64_MAX;
        Sample sample = {};

        for (int i = 0; i < 100; i++) {
                struct timespec time;

                uint64_t before = __rdtsc();
                (void) clock_gettime(CLOCK_MONOTONIC_RAW, &time);
                uint64_t after = __rdtsc();

                if (after - before < best) {
                        best = after - before;
                        sample = (Sample) { .ticks = before + best / 2, .seconds = time.tv_sec + time.tv_nsec / 1e9 };
                }
        }

        return sample;
}

int main(void) {
        Sample begin = take_sample();
        (void) nanosleep(&(struct timespec) { .tv_nsec = 50 * 1000 * 1000 }, NULL);
        Sample end = take_sample();

        printf("%.0f\n", (end.ticks - begin.ticks) / (end.seconds - begin.seconds) / 1000);
        return 0;
}
