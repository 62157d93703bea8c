/* SPDX-License-Identifier: GPL-2.0-only */

/* Tests which loads and scans are done at a time, and which results are reported. The functions below do the children's
 * work in place of libkmod. A child that is held waits in the open() of a FIFO until the test opens it too. */

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "heap/module-loader.h"
#include "unit-loop.h"
#include "util/fd-util.h"

/* What the children tell, in memory that they share with the test. */
typedef struct Shared {
        unsigned n_loads;
        unsigned n_scans;
        pid_t last_pid;
} Shared;

typedef struct Waiter {
        ModuleLoad *load;
        unsigned n_reports;
        ModuleResult result;
        struct Waiter *cancels;
} Waiter;

static struct {
        sd_event *event;
        ModuleLoader *loader;
        volatile Shared *shared;
        char *directory;
        char fifo[128];
        int fifo_fd;
        bool held; /* children wait for the release */
        unsigned n_scanned;
        size_t n_declarations;
        ModuleDeclaration declaration; /* the first */
        unsigned n_open;               /* descriptors before the test */
        unsigned n_open_loader;        /* with a loader without children */
} fixture;

/* Stands in for module-kmod.c. */

static void child_waits(void) {
        if (fixture.held)
                safe_close(open(fixture.fifo, O_RDONLY | O_CLOEXEC));
}

void module_load_now(const char *heap, ModuleResult *ret) {
        fixture.shared->last_pid = getpid();
        (void) __atomic_add_fetch(&fixture.shared->n_loads, 1, __ATOMIC_SEQ_CST);
        child_waits();

        if (streq(heap, "dies"))
                (void) raise(SIGKILL);

        *ret = (ModuleResult) { .outcome = MODULE_LOADED, .inserted = true };
        (void) snprintf(ret->module, sizeof(ret->module), "module_of_%s", heap);
}

size_t module_scan_now(ModuleDeclaration *declarations) {
        (void) __atomic_add_fetch(&fixture.shared->n_scans, 1, __ATOMIC_SEQ_CST);
        child_waits();

        for (size_t i = 0; i < MODULE_DECLARATIONS_MAX; i++) {
                (void) snprintf(declarations[i].heap, sizeof(declarations[i].heap), "heap%zu", i);
                declarations[i].installed = true;
        }
        return MODULE_DECLARATIONS_MAX;
}

static void release(void) {
        fixture.fifo_fd = open(fixture.fifo, O_RDWR | O_CLOEXEC);
        assert_true(fixture.fifo_fd >= 0);
}

static void on_scanned(const ModuleDeclaration *declarations, size_t n, void *userdata) {
        assert_ptr_equal(userdata, &fixture);
        fixture.n_scanned++;
        fixture.n_declarations = n;
        if (n > 0)
                fixture.declaration = declarations[n - 1];
}

static void on_loaded(const ModuleResult *result, void *userdata) {
        Waiter *waiter = userdata;

        waiter->load = NULL;
        waiter->n_reports++;
        waiter->result = *result;
        if (waiter->cancels)
                waiter->cancels->load = module_load_cancel(waiter->cancels->load);
}

static void load(const char *heap, const char *module, Waiter *waiter) {
        assert_int_equal(module_loader_load(fixture.loader, heap, module, on_loaded, waiter, &waiter->load), 0);
        assert_int_equal(waiter->n_reports, 0);
}

/* How many children the loader has now. Each child is a pidfd and a memfd from the moment in which it is made. */
static unsigned n_children(void) {
        return (n_open_fds() - fixture.n_open_loader) / 2;
}

static int setup(void **state _unused_) {
        memset(&fixture, 0, sizeof(fixture));
        fixture.n_open = n_open_fds();
        fixture.fifo_fd = -EBADF;
        fixture.shared = mmap(NULL, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(fixture.shared != MAP_FAILED);
        fixture.directory = directory_new();
        (void) snprintf(fixture.fifo, sizeof(fixture.fifo), "%s/fifo", fixture.directory);
        assert_int_equal(mkfifo(fixture.fifo, 0600), 0);
        assert_int_equal(sd_event_new(&fixture.event), 0);
        assert_int_equal(module_loader_new(fixture.event, on_scanned, &fixture, &fixture.loader), 0);
        fixture.n_open_loader = n_open_fds();
        return 0;
}

static int teardown(void **state _unused_) {
        module_loader_free(fixture.loader);
        sd_event_unref(fixture.event);
        safe_close(fixture.fifo_fd);
        directory_remove(fixture.directory);
        (void) munmap((void *) fixture.shared, sizeof(Shared));
        assert_int_equal(n_open_fds(), fixture.n_open);
        return 0;
}

/* All that wait for one heap are served by one child; only one of them hears that a module was inserted. */
static void test_one_child_for_one_heap(void **state _unused_) {
        Waiter waiters[3] = {};
        unsigned n_inserted = 0;

        for (size_t i = 0; i < ELEMENTSOF(waiters); i++)
                load("camera", i == 0 ? NULL : "whatever", &waiters[i]);
        assert_true(module_loader_busy(fixture.loader));
        loop_until(fixture.event, !module_loader_busy(fixture.loader));

        assert_int_equal(fixture.shared->n_loads, 1);
        for (size_t i = 0; i < ELEMENTSOF(waiters); i++) {
                assert_int_equal(waiters[i].n_reports, 1);
                assert_int_equal(waiters[i].result.outcome, MODULE_LOADED);
                assert_string_equal(waiters[i].result.module, "module_of_camera");
                n_inserted += waiters[i].result.inserted;
        }
        assert_int_equal(n_inserted, 1);
}

/* Two heaps of one module are loaded one after the other, others at the same time. */
static void test_one_module_at_a_time(void **state _unused_) {
        Waiter a = {}, b = {}, c = {};

        fixture.held = true;
        load("a", "shared_module", &a);
        load("b", "shared_module", &b);
        load("c", "own_module", &c);
        assert_int_equal(n_children(), 2);
        loop_until(fixture.event, fixture.shared->n_loads == 2);
        loop_settle(fixture.event);
        assert_int_equal(n_children(), 2);

        release();
        loop_until(fixture.event, !module_loader_busy(fixture.loader));
        assert_int_equal(fixture.shared->n_loads, 3);
        assert_int_equal(a.n_reports + b.n_reports + c.n_reports, 3);
}

/* No more than eight children at a time; the others follow. */
static void test_eight_children(void **state _unused_) {
        Waiter waiters[12] = {};

        fixture.held = true;
        for (size_t i = 0; i < ELEMENTSOF(waiters); i++) {
                char heap[16];

                (void) snprintf(heap, sizeof(heap), "heap%zu", i);
                load(heap, NULL, &waiters[i]);
        }
        assert_int_equal(n_children(), 8);
        loop_until(fixture.event, fixture.shared->n_loads == 8);
        loop_settle(fixture.event);
        assert_int_equal(n_children(), 8);

        release();
        loop_until(fixture.event, !module_loader_busy(fixture.loader));
        assert_int_equal(fixture.shared->n_loads, 12);
        for (size_t i = 0; i < ELEMENTSOF(waiters); i++)
                assert_int_equal(waiters[i].n_reports, 1);
}

/* A child that dies has failed, and the next one is not held up. */
static void test_child_dies(void **state _unused_) {
        Waiter a = {}, b = {};

        load("dies", "the_module", &a);
        load("b", "the_module", &b);
        loop_until(fixture.event, !module_loader_busy(fixture.loader));
        assert_int_equal(a.result.outcome, MODULE_FAILED);
        assert_string_equal(a.result.module, "the_module");
        assert_string_equal(a.result.reason, "the process that was to load the module ended early");
        assert_int_equal(b.result.outcome, MODULE_LOADED);
}

/* A load that was cancelled is not reported, not even if another's report cancels it; the child goes on. */
static void test_cancel(void **state _unused_) {
        Waiter first = {}, second = {}, third = {};

        load("camera", NULL, &first);
        load("camera", NULL, &second);
        load("camera", NULL, &third);
        second.load = module_load_cancel(second.load);
        first.cancels = &third;
        third.cancels = &first;
        assert_null(module_load_cancel(NULL));

        loop_until(fixture.event, !module_loader_busy(fixture.loader));
        assert_int_equal(fixture.shared->n_loads, 1);
        assert_int_equal(second.n_reports, 0);
        assert_int_equal(first.n_reports + third.n_reports, 1);
}

static void test_scan(void **state _unused_) {
        assert_int_equal(module_loader_scan(fixture.loader), 0);
        assert_int_equal(module_loader_scan(fixture.loader), 0); /* one is under way */
        assert_int_equal(fixture.n_scanned, 0);
        loop_until(fixture.event, fixture.n_scanned > 0);
        loop_settle(fixture.event);
        assert_int_equal(fixture.n_scanned, 1);
        assert_int_equal(fixture.shared->n_scans, 1);
        assert_int_equal(fixture.n_declarations, MODULE_DECLARATIONS_MAX);
        assert_string_equal(fixture.declaration.heap, "heap255");
        assert_true(fixture.declaration.installed);

        assert_int_equal(module_loader_scan(fixture.loader), 0);
        loop_until(fixture.event, fixture.n_scanned == 2);
}

/* Children end with the loader, and nobody is called. */
static void test_free_at_work(void **state _unused_) {
        Waiter waiter = {};

        fixture.held = true;
        load("camera", NULL, &waiter);
        assert_int_equal(module_loader_scan(fixture.loader), 0);
        loop_until(fixture.event, fixture.shared->n_loads == 1 && fixture.shared->n_scans == 1);
        _cleanup_close_ int pidfd = pidfd_open(fixture.shared->last_pid, 0);
        assert_true(pidfd >= 0);

        fixture.loader = module_loader_free(fixture.loader);
        assert_int_equal(
                        poll(&(struct pollfd) { .fd = pidfd, .events = POLLIN }, 1, LOOP_DEADLINE_USEC / USEC_PER_MSEC),
                        1);
        loop_settle(fixture.event);
        assert_int_equal(waiter.n_reports + fixture.n_scanned, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(one_child_for_one_heap),
                TEST(one_module_at_a_time),
                TEST(eight_children),
                TEST(child_dies),
                TEST(cancel),
                TEST(scan),
                TEST(free_at_work),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
