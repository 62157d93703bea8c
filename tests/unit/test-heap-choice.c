/* SPDX-License-Identifier: GPL-2.0-only */

/* How a heap is chosen. The registry and the event loop are the real ones; the scan, the module loader and the device
 * monitor are the functions below, which the linker takes in place of the library's. */

#include <stdio.h>

#include "heap/heap-choice.h"
#include "unit.h"
#include "util/time-util.h"

#define NAMES(...) ((const char *const[]) { __VA_ARGS__, NULL })

struct RoundWait {
        round_done_t on_done;
        void *userdata;
};

struct ModuleLoad {
        char heap[65];
        char module[65]; /* expected; empty for none */
        module_loaded_t on_loaded;
        void *userdata;
};

static struct {
        sd_event *event;
        HeapRegistry registry;
        Role role;

        bool scan_is_recent;
        RoundWait *wait; /* for a scan, or NULL */
        ModuleLoad *load;
        unsigned n_loads;
        const char *appears; /* a heap that the next enumeration finds */

        const char *const *denied, *const *small, *const *writable; /* names of heaps that do not fit */
        unsigned n_asked;
        HeapChoice *choice;
        unsigned n_results;
        ChoiceOutcome outcome;
        char heap[65];
        char reason[256];
        HeapFit fit;
        int error;
} t;

int heap_scan_wait(HeapScan *scan, round_done_t on_scanned, void *userdata, RoundWait **ret) {
        (void) scan;
        assert_null(t.wait);
        t.wait = malloc(sizeof(RoundWait));
        assert_non_null(t.wait);
        *t.wait = (RoundWait) { on_scanned, userdata };
        *ret = t.wait;
        return 0;
}

bool heap_scan_is_recent(const HeapScan *scan) {
        (void) scan;
        return t.scan_is_recent;
}

ModuleLoader *heap_scan_loader(HeapScan *scan) {
        (void) scan;
        return NULL;
}

RoundWait *round_wait_cancel(RoundWait *wait) {
        if (wait) {
                assert_ptr_equal(wait, t.wait);
                t.wait = NULL;
                free(wait);
        }
        return NULL;
}

int module_loader_load(ModuleLoader *loader, const char *heap, const char *module, module_loaded_t on_loaded,
                void *userdata, ModuleLoad **ret) {
        (void) loader;
        assert_null(t.load);
        t.load = malloc(sizeof(ModuleLoad));
        assert_non_null(t.load);
        *t.load = (ModuleLoad) { .on_loaded = on_loaded, .userdata = userdata };
        (void) snprintf(t.load->heap, sizeof(t.load->heap), "%s", heap);
        (void) snprintf(t.load->module, sizeof(t.load->module), "%s", module ?: "");
        t.n_loads++;
        *ret = t.load;
        return 0;
}

ModuleLoad *module_load_cancel(ModuleLoad *load) {
        if (load) {
                assert_ptr_equal(load, t.load);
                t.load = NULL;
                free(load);
        }
        return NULL;
}

int device_monitor_enumerate(DeviceMonitor *monitor) {
        (void) monitor;
        if (t.appears)
                assert_int_equal(heap_registry_appeared(&t.registry, t.appears), 0);
        t.appears = NULL;
        return 0;
}

static HeapFit on_fits(const Heap *heap, void *userdata) {
        assert_ptr_equal(userdata, &t);
        t.n_asked++;
        if (t.denied && strv_contains((char *const *) t.denied, heap->name))
                return HEAP_DENIED;
        if (t.small && strv_contains((char *const *) t.small, heap->name))
                return HEAP_TOO_SMALL;
        if (t.writable && strv_contains((char *const *) t.writable, heap->name))
                return HEAP_NOT_READ_ONLY;
        return HEAP_FIT;
}

static void on_chosen(const ChoiceResult *result, void *userdata) {
        assert_ptr_equal(userdata, &t);
        t.n_results++;
        t.outcome = result->outcome;
        t.error = result->error;
        t.fit = result->fit;
        (void) snprintf(t.heap, sizeof(t.heap), "%s", result->heap ? result->heap->name : "");
        (void) snprintf(t.reason, sizeof(t.reason), "%s", result->reason ?: "");
}

static int setup(void **state) {
        (void) state;
        memset(&t, 0, sizeof(t));
        assert_true(sd_event_new(&t.event) >= 0);
        heap_registry_init(&t.registry, NULL, NULL);
        return 0;
}

static int teardown(void **state) {
        (void) state;
        t.choice = heap_choice_free(t.choice);
        assert_null(t.wait);
        assert_null(t.load);
        heap_registry_done(&t.registry);
        t.event = sd_event_unref(t.event);
        return 0;
}

static void settle(void) {
        while (sd_event_run(t.event, 0) > 0)
                ;
}

/* Begins a choice; it must not report before the event loop runs. */
static void choose(const char *heap, const char *role) {
        t.choice = heap_choice_free(t.choice);
        t.n_results = 0;
        assert_int_equal(heap_choice_new(&(HeapSources) { .event = t.event, .registry = &t.registry },
                                         heap,
                                         role,
                                         on_fits,
                                         on_chosen,
                                         &t,
                                         &t.choice),
                        0);
        assert_int_equal(t.n_results, 0);
        settle();
}

/* The choice has reported just once since this was last asked. heap: the heap of the result, NULL for none. */
static void assert_result(ChoiceOutcome outcome, const char *heap) {
        assert_int_equal(t.n_results, 1);
        assert_int_equal(t.outcome, outcome);
        assert_string_equal(t.heap, heap ?: "");
        t.n_results = 0;
}

static void assert_unavailable(const char *heap, const char *reason) {
        assert_result(CHOICE_UNAVAILABLE, heap);
        assert_string_equal(t.reason, reason);
}

static void reject(const char *reason) {
        heap_choice_reject(t.choice, reason);
        settle();
}

/* The one role there is. */
static void set_role(const char *name, const char *const *heaps) {
        t.role = (Role) { .name = (char *) name, .heaps = (char **) heaps };
        heap_registry_set_roles(&t.registry, &t.role);
}

static void appeared(const char *heap) {
        assert_int_equal(heap_registry_appeared(&t.registry, heap), 0);
}

static void declare(const char *heap, const char *module) {
        assert_int_equal(heap_registry_declare(&t.registry, heap, module, true), 0);
        heap_registry_scan_end(&t.registry);
}

static void finish_scan(void) {
        RoundWait *wait = TAKE_PTR(t.wait);
        RoundWait copy;

        assert_non_null(wait);
        copy = *wait;
        free(wait);
        copy.on_done(copy.userdata);
        settle();
}

static void finish_load(const char *heap, const char *module, const ModuleResult *result) {
        ModuleLoad *load = TAKE_PTR(t.load);
        ModuleLoad copy;

        assert_non_null(load);
        copy = *load;
        free(load);
        assert_string_equal(copy.heap, heap);
        assert_string_equal(copy.module, module);
        copy.on_loaded(result, copy.userdata);
        settle();
}

static size_t n_heaps(void) {
        size_t n = 0;

        for (const Heap *heap = t.registry.heaps; heap; heap = heap->next)
                n++;
        return n;
}

static void test_named_and_ready(void **state) {
        (void) state;
        appeared("system");

        choose("system", NULL);
        assert_result(CHOICE_READY, "system");
        assert_string_equal(heap_choice_name(t.choice), "system");
        assert_int_equal(t.n_loads, 0);

        /* Nothing comes after the only candidate. */
        reject("its node cannot be opened");
        assert_unavailable("system", "its node cannot be opened");
}

static void test_named_and_loaded(void **state) {
        (void) state;
        declare("camera", "camera_heap");

        choose("camera", NULL);
        assert_int_equal(t.n_results, 0);
        t.appears = "camera";
        finish_load("camera",
                        "camera_heap",
                        &(ModuleResult) { .outcome = MODULE_LOADED, .inserted = true, .module = "camera_heap" });
        assert_result(CHOICE_READY, "camera");
}

/* A name that a client invents is looked for, and leaves nothing behind. */
static void test_unknown_name_is_forgotten(void **state) {
        (void) state;

        choose("invented", NULL);
        finish_load("invented", "", &(ModuleResult) { .outcome = MODULE_NOT_DECLARED });
        assert_result(CHOICE_NO_SUCH_HEAP, NULL);
        assert_string_equal(heap_choice_name(t.choice), "invented");
        assert_int_equal(n_heaps(), 0);

        /* A module that was declared since the last scan is another matter. */
        choose("newcomer", NULL);
        t.appears = "newcomer";
        finish_load("newcomer",
                        "",
                        &(ModuleResult) { .outcome = MODULE_LOADED, .inserted = true, .module = "new_heap" });
        assert_result(CHOICE_READY, "newcomer");
        assert_int_equal(n_heaps(), 1);
}

static void test_load_fails(void **state) {
        (void) state;
        declare("camera", "camera_heap");

        choose("camera", NULL);
        finish_load("camera",
                        "camera_heap",
                        &(ModuleResult) {
                                .outcome = MODULE_FAILED, .module = "camera_heap", .reason = "no such device" });
        assert_unavailable("camera", "no such device");
        assert_int_equal(heap_registry_find(&t.registry, "camera")->state, HEAP_FAILED);
        assert_string_equal(heap_registry_find(&t.registry, "camera")->reason, "no such device");

        choose("other", NULL);
        finish_load("other", "", &(ModuleResult) { .outcome = MODULE_LOADED, .module = "some_heap" });
        assert_unavailable("other", "module some_heap is loaded, but provides no heap of this name");
        assert_string_equal(heap_registry_find(&t.registry, "other")->module, "some_heap");
}

/* A module is not loaded for a client that may not use its heap. */
static void test_denied_before_loading(void **state) {
        (void) state;
        declare("camera", "camera_heap");
        appeared("system");
        t.denied = NAMES("camera", "system", "invented");

        choose("camera", NULL);
        assert_result(CHOICE_DENIED, NULL);
        assert_string_equal(heap_choice_name(t.choice), "camera");
        choose("system", NULL);
        assert_result(CHOICE_DENIED, NULL);
        assert_string_equal(heap_choice_name(t.choice), "system");
        choose("invented", NULL);
        assert_result(CHOICE_DENIED, NULL);
        assert_string_equal(heap_choice_name(t.choice), "invented");
        assert_int_equal(t.n_loads, 0);
}

static void test_role_order(void **state) {
        (void) state;
        set_role("r", NAMES("c", "a", "b"));
        appeared("a");
        appeared("b");
        declare("c", "c_heap");

        choose(NULL, "r");
        assert_result(CHOICE_READY, "a");
        reject("a is broken");
        assert_result(CHOICE_READY, "b");
        reject("b is broken");
        t.appears = "c";
        finish_load("c", "c_heap", &(ModuleResult) { .outcome = MODULE_LOADED, .module = "c_heap" });
        assert_result(CHOICE_READY, "c");

        /* The client is told of the first heap that could not be had. */
        reject("c is broken");
        assert_unavailable("a", "a is broken");
}

static void test_role_denied(void **state) {
        (void) state;
        set_role("r", NAMES("a", "b", "c"));
        appeared("a");
        appeared("b");
        appeared("c");

        t.denied = NAMES("a", "c");
        choose(NULL, "r");
        assert_result(CHOICE_READY, "b");
        reject("b is broken");
        assert_unavailable("b", "b is broken");

        t.denied = NAMES("a", "b", "c");
        choose(NULL, "r");
        assert_result(CHOICE_DENIED, NULL);
}

static void assert_unfit(const char *heap, HeapFit fit) {
        assert_result(CHOICE_UNFIT, heap);
        assert_int_equal(t.fit, fit);
}

static void test_unfit(void **state) {
        (void) state;
        set_role("r", NAMES("a", "b", "c"));
        appeared("a");
        appeared("b");
        appeared("c");
        t.small = NAMES("a");
        t.writable = NAMES("b");

        choose("a", NULL);
        assert_unfit("a", HEAP_TOO_SMALL);
        choose("b", NULL);
        assert_unfit("b", HEAP_NOT_READ_ONLY);

        /* Of a role, one that fits is found; else the client is told of the first. */
        choose(NULL, "r");
        assert_result(CHOICE_READY, "c");
        reject("c is broken");
        assert_unfit("a", HEAP_TOO_SMALL);

        t.small = NAMES("c");
        t.denied = NAMES("a");
        choose(NULL, "r");
        assert_unfit("b", HEAP_NOT_READ_ONLY);

        t.writable = NULL;
        t.denied = NULL;
        choose(NULL, "r");
        assert_result(CHOICE_READY, "a");
        reject("a is broken");
        assert_result(CHOICE_READY, "b");
        reject("b is broken");
        assert_unavailable("a", "a is broken");
}

/* Only a denial keeps a module from being loaded: the size of a heap may become known by loading it. */
static void test_asked_before_and_after_loading(void **state) {
        (void) state;
        declare("a", "a_heap");
        t.small = NAMES("a", "invented");

        choose("a", NULL);
        assert_int_equal(t.n_asked, 1);
        t.appears = "a";
        finish_load("a", "a_heap", &(ModuleResult) { .outcome = MODULE_LOADED, .module = "a_heap" });
        assert_int_equal(t.n_asked, 2);
        assert_unfit("a", HEAP_TOO_SMALL);

        /* A load that fails comes first, and so does a name that leads nowhere. */
        choose("invented", NULL);
        finish_load("invented", "", &(ModuleResult) { .outcome = MODULE_NOT_DECLARED });
        assert_result(CHOICE_NO_SUCH_HEAP, NULL);

        declare("b", "b_heap");
        choose("b", NULL);
        t.appears = "b";
        t.denied = NAMES("b"); /* by a configuration that was read meanwhile */
        finish_load("b", "b_heap", &(ModuleResult) { .outcome = MODULE_LOADED, .module = "b_heap" });
        assert_result(CHOICE_DENIED, NULL);
}

static void test_role_load_fails(void **state) {
        (void) state;
        set_role("r", NAMES("a", "b", "c"));
        declare("a", "shared_heap");
        declare("b", "shared_heap");
        declare("c", "c_heap");

        /* A module that has failed is not asked for again under another name. */
        choose(NULL, "r");
        finish_scan();
        finish_load("a",
                        "shared_heap",
                        &(ModuleResult) { .outcome = MODULE_FAILED, .module = "shared_heap", .reason = "first" });
        finish_load("c",
                        "c_heap",
                        &(ModuleResult) { .outcome = MODULE_FAILED, .module = "c_heap", .reason = "second" });
        assert_int_equal(t.n_loads, 2);
        assert_unavailable("a", "first");
}

static void test_role_waits_for_a_scan(void **state) {
        (void) state;
        set_role("r", NAMES("a"));

        choose(NULL, "nonsense");
        finish_scan();
        assert_result(CHOICE_NO_SUCH_HEAP, NULL);
        assert_string_equal(heap_choice_name(t.choice), "nonsense");

        choose(NULL, "r");
        assert_string_equal(heap_choice_name(t.choice), "r");
        finish_scan();
        assert_result(CHOICE_NO_SUCH_HEAP, NULL);
        assert_string_equal(heap_choice_name(t.choice), "r");

        /* Heaps that the scan has found count. */
        choose(NULL, "r");
        declare("a", "a_heap");
        finish_scan();
        assert_string_equal(heap_choice_name(t.choice), "a");
        t.appears = "a";
        finish_load("a", "a_heap", &(ModuleResult) { .outcome = MODULE_LOADED, .module = "a_heap" });
        assert_result(CHOICE_READY, "a");

        /* With one that is ready nothing is waited for. */
        choose(NULL, "r");
        assert_result(CHOICE_READY, "a");
}

/* udmabuf stands in for heaps that cannot be had, so these are looked for first. */
static void test_udmabuf_waits_for_a_scan(void **state) {
        (void) state;
        set_role("system", NAMES("system", HEAP_UDMABUF));
        appeared(HEAP_UDMABUF);

        choose(NULL, "system");
        assert_int_equal(t.n_results, 0);
        declare("system", "system_heap");
        finish_scan();
        finish_load("system",
                        "system_heap",
                        &(ModuleResult) { .outcome = MODULE_FAILED, .module = "system_heap", .reason = "refused" });
        assert_result(CHOICE_READY, HEAP_UDMABUF);
        reject("udmabuf as well");
        assert_unavailable("system", "refused");

        t.scan_is_recent = true;
        choose(NULL, "system");
        assert_result(CHOICE_READY, HEAP_UDMABUF);
}

static void test_no_udmabuf(void **state) {
        (void) state;

        choose(HEAP_UDMABUF, NULL);
        assert_int_equal(t.n_loads, 0);
        assert_unavailable(HEAP_UDMABUF, "this kernel has no /dev/udmabuf");
}

/* A heap that failed is tried again a second after it did, and not earlier. */
static void test_retry_interval(void **state) {
        uint64_t failed_at = now_usec() - USEC_PER_SEC + 100 * USEC_PER_MSEC;
        (void) state;

        assert_int_equal(heap_registry_failed(&t.registry, "camera", "camera_heap", "no", failed_at), 0);
        choose("camera", NULL);
        assert_null(t.load);
        while (!t.load)
                assert_true(sd_event_run(t.event, 5 * USEC_PER_SEC) > 0);
        assert_true(now_usec() >= failed_at + USEC_PER_SEC);
        finish_load("camera",
                        "camera_heap",
                        &(ModuleResult) { .outcome = MODULE_FAILED, .module = "camera_heap", .reason = "no" });
        assert_unavailable("camera", "no");

        heap_registry_find(&t.registry, "camera")->failed_at = now_usec() - USEC_PER_SEC;
        choose("camera", NULL);
        assert_non_null(t.load);
}

/* Whatever it waits for, a choice that is freed waits no more; teardown() looks. */
static void test_freed_while_waiting(void **state) {
        (void) state;
        set_role("r", NAMES("a"));

        choose(NULL, "r");
        assert_non_null(t.wait);
        t.choice = heap_choice_free(t.choice);
        assert_null(t.wait);

        choose("invented", NULL);
        assert_non_null(t.load);
        t.choice = heap_choice_free(t.choice);
        assert_null(t.load);

        appeared("a");
        assert_int_equal(heap_choice_new(&(HeapSources) { .event = t.event, .registry = &t.registry },
                                         "a",
                                         NULL,
                                         on_fits,
                                         on_chosen,
                                         &t,
                                         &t.choice),
                        0);
        t.choice = heap_choice_free(t.choice);
        settle();
        assert_int_equal(t.n_results, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_named_and_ready, setup, teardown),
                cmocka_unit_test_setup_teardown(test_named_and_loaded, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unknown_name_is_forgotten, setup, teardown),
                cmocka_unit_test_setup_teardown(test_load_fails, setup, teardown),
                cmocka_unit_test_setup_teardown(test_denied_before_loading, setup, teardown),
                cmocka_unit_test_setup_teardown(test_role_order, setup, teardown),
                cmocka_unit_test_setup_teardown(test_role_denied, setup, teardown),
                cmocka_unit_test_setup_teardown(test_unfit, setup, teardown),
                cmocka_unit_test_setup_teardown(test_asked_before_and_after_loading, setup, teardown),
                cmocka_unit_test_setup_teardown(test_role_load_fails, setup, teardown),
                cmocka_unit_test_setup_teardown(test_role_waits_for_a_scan, setup, teardown),
                cmocka_unit_test_setup_teardown(test_udmabuf_waits_for_a_scan, setup, teardown),
                cmocka_unit_test_setup_teardown(test_no_udmabuf, setup, teardown),
                cmocka_unit_test_setup_teardown(test_retry_interval, setup, teardown),
                cmocka_unit_test_setup_teardown(test_freed_while_waiting, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
