/* SPDX-License-Identifier: MIT */
/*
 * Starts and stops fake-daemon.py for the tests in C.
 *
 * Invariant: no fake daemon outlives its test, however the test ends. Its standard input is a pipe of which only this
 * process has the write end; the kernel closes that end with the process, and the fake daemon exits at the end of the
 * file.
 */

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fake.h"

static const char *fake_daemon;
static char directory[] = "/tmp/test-dmaheap-XXXXXX", address[64];
static pid_t fake_daemon_pid;
static int lifeline_fd = -EBADF; /* the write end of the fake daemon's standard input */

void fake_start(void) {
        char *argv[] = { (char *) "python3", (char *) fake_daemon, address, NULL };
        posix_spawn_file_actions_t actions;
        int in[2], out[2];
        char byte;

        CHECK(pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
        CHECK(posix_spawn_file_actions_init(&actions) == 0);
        CHECK(posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO) == 0);
        CHECK(posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO) == 0);
        CHECK(posix_spawnp(&fake_daemon_pid, "python3", &actions, NULL, argv, environ) == 0);
        CHECK(posix_spawn_file_actions_destroy(&actions) == 0);
        CHECK(close(in[0]) == 0 && close(out[1]) == 0);
        lifeline_fd = in[1];
        do
                CHECK(read(out[0], &byte, 1) == 1);
        while (byte != '\n');
        CHECK(close(out[0]) == 0);
}

void fake_kill(void) {
        CHECK(kill(fake_daemon_pid, SIGKILL) == 0);
        CHECK(waitpid(fake_daemon_pid, NULL, 0) == fake_daemon_pid);
        CHECK(close(lifeline_fd) == 0);
        lifeline_fd = -EBADF;
}

pid_t fake_pid(void) {
        return fake_daemon_pid;
}

void fake_setup(const char *script) {
        CHECK(script);
        fake_daemon = script;
        CHECK(mkdtemp(directory));
        (void) snprintf(address, sizeof(address), "%s/socket", directory);
        fake_start();
}

void fake_done(void) {
        fake_kill();
        CHECK(unlink(address) == 0 && rmdir(directory) == 0);
}

int fake_run_tests(int argc, char *argv[], void (*const tests[])(void)) {
        size_t n_fds;

        CHECK(argc == 2);
        fake_setup(argv[1]);
        n_fds = count_fds();
        for (size_t i = 0; tests[i]; i++)
                tests[i]();
        CHECK(count_fds() == n_fds);
        fake_done();
        return 0;
}

const char *fake_address(void) {
        return address;
}

DmaHeapConnection *fake_connection(void) {
        DmaHeapConnection *c = NULL;

        CHECK(dmaheap_connection_new(address, &c) == 0);
        return c;
}

size_t count_fds(void) {
        size_t n = 0;

        for (int fd = 0; fd < 1024; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

uint64_t now(void) {
        struct timespec ts;

        CHECK(clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}
