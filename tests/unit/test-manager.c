/* SPDX-License-Identifier: GPL-2.0-only */

/* When the daemon says that it is ready, when it exits by itself, and what it does on SIGHUP. The event loop, the
 * registry of heaps, the choice of a heap and sd_notify(3) are the real ones; the linker takes the rest from below. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "config/config-load.h"
#include "manager.h"
#include "unit-loop.h"
#include "util/fd-util.h"

struct RoundWait {
        round_done_t on_done;
        void *userdata;
};

struct ModuleLoad {
        char heap[65];
        module_loaded_t on_loaded;
        void *userdata;
};

static struct {
        char *directory;
        int notify_fd;
        Manager *manager;

        uint64_t idle_timeout_usec, allocation_timeout_usec; /* of the next configuration */
        int config_result;
        const char *region; /* that the device monitor finds at start, or NULL */
        bool scan_ends;     /* the first scan; else SIGTERM comes */
        RoundWait *wait;
        ModuleLoad *load;
        const char *appears; /* a heap that the next enumeration finds */
        unsigned n_workers;
        bool busy; /* the module loader */
        bool census;
        unsigned n_configured; /* calls of accounting_config_changed() */
        unsigned n_forgotten;  /* clients */
        unsigned n_told;       /* of changes of the heaps */
        Client client;
} t;

int config_load(const char *root, config_problem_t on_problem, void *userdata, Config **ret) {
        (void) userdata;
        assert_null(root);
        if (t.config_result < 0)
                return t.config_result;

        Config *config = config_new();
        assert_non_null(config);
        config->idle_timeout_usec = t.idle_timeout_usec;
        config->allocation_timeout_usec = t.allocation_timeout_usec;
        assert_non_null(on_problem);
        *ret = config;
        return 0;
}

int config_check_file(const char *path, config_problem_t on_problem, void *userdata) {
        (void) path;
        (void) on_problem;
        (void) userdata;
        return 0;
}

int worker_pool_new(sd_event *event, const char *spawner_path, WorkerPool **ret) {
        (void) event;
        assert_non_null(strstr(spawner_path, "/dmaheapd-spawner"));
        *ret = (WorkerPool *) &t;
        return 0;
}

WorkerPool *worker_pool_free(WorkerPool *pool) {
        (void) pool;
        return NULL;
}

unsigned worker_pool_n_workers(const WorkerPool *pool) {
        assert_ptr_equal(pool, &t);
        return t.n_workers;
}

void worker_pool_forget_client(WorkerPool *pool, const void *client) {
        (void) pool;
        assert_ptr_equal(client, &t.client);
        t.n_forgotten++;
}

int heap_scan_new(sd_event *event, HeapRegistry *registry, HeapScan **ret) {
        (void) event;
        (void) registry;
        *ret = NULL;
        return 0;
}

HeapScan *heap_scan_free(HeapScan *scan) {
        (void) scan;
        return NULL;
}

ModuleLoader *heap_scan_loader(HeapScan *scan) {
        (void) scan;
        return NULL;
}

static int on_scan_end(sd_event_source *source, void *userdata) {
        RoundWait *wait = userdata;
        RoundWait done = *wait;

        (void) source;
        assert_ptr_equal(wait, t.wait);
        free(TAKE_PTR(t.wait));
        done.on_done(done.userdata);
        return 0;
}

int heap_scan_wait(HeapScan *scan, round_done_t on_scanned, void *userdata, RoundWait **ret) {
        (void) scan;
        *ret = t.wait = malloc(sizeof(RoundWait));
        assert_non_null(t.wait);
        *t.wait = (RoundWait) { on_scanned, userdata };
        if (t.scan_ends)
                return sd_event_add_defer(t.manager->event, NULL, on_scan_end, t.wait);

        return kill(getpid(), SIGTERM);
}

bool heap_scan_is_recent(const HeapScan *scan) {
        (void) scan;
        return true;
}

RoundWait *round_wait_cancel(RoundWait *wait) {
        if (wait) {
                assert_ptr_equal(wait, t.wait);
                free(TAKE_PTR(t.wait));
        }
        return NULL;
}

int module_loader_load(ModuleLoader *loader, const char *heap, const char *module, module_loaded_t on_loaded,
                void *userdata, ModuleLoad **ret) {
        (void) loader;
        (void) module;
        assert_null(t.load);
        *ret = t.load = malloc(sizeof(ModuleLoad));
        assert_non_null(t.load);
        *t.load = (ModuleLoad) { .on_loaded = on_loaded, .userdata = userdata };
        (void) snprintf(t.load->heap, sizeof(t.load->heap), "%s", heap);
        return 0;
}

ModuleLoad *module_load_cancel(ModuleLoad *load) {
        if (load) {
                assert_ptr_equal(load, t.load);
                free(TAKE_PTR(t.load));
        }
        return NULL;
}

bool module_loader_busy(const ModuleLoader *loader) {
        (void) loader;
        return t.busy;
}

int device_monitor_new(sd_event *event, HeapRegistry *registry, const char *sysfs, DeviceMonitor **ret) {
        (void) event;
        assert_string_equal(sysfs, "/sys");
        *ret = NULL;
        return t.region ? heap_registry_add_region(registry, t.region, 4096, false) : 0;
}

DeviceMonitor *device_monitor_free(DeviceMonitor *monitor) {
        (void) monitor;
        return NULL;
}

int device_monitor_enumerate(DeviceMonitor *monitor) {
        const char *heap = TAKE_PTR(t.appears);

        (void) monitor;
        return heap ? heap_registry_appeared(&t.manager->heaps, heap) : 0;
}

int accounting_start(sd_event *event, Config *const *config, HeapRegistry *heaps, ClientRegistry *clients,
                int cgroup_root_fd, Accounting **ret) {
        (void) event;
        (void) clients;
        assert_non_null(*config);
        assert_ptr_equal(heaps, &t.manager->heaps);
        assert_true(cgroup_root_fd >= 0);
        *ret = (Accounting *) &t;
        return 0;
}

Accounting *accounting_free(Accounting *accounting) {
        (void) accounting;
        return NULL;
}

int accounting_config_changed(Accounting *accounting) {
        assert_ptr_equal(accounting, &t);
        t.n_configured++;
        return 0;
}

char *accounting_describe_census(const Accounting *accounting) {
        (void) accounting;
        return strdup("buffers counted by hand");
}

bool accounting_busy(const Accounting *accounting) {
        (void) accounting;
        return t.census;
}

void allocator_done(Allocator *allocator) {
        allocator->requests = NULL;
}

int connection_open(ClientRegistry *clients, int cgroup_root_fd, int socket_fd, Connection *ret) {
        (void) clients;
        assert_true(cgroup_root_fd >= 0);
        if (socket_fd < 0)
                return -ESRCH;

        t.client.n_connections++;
        *ret = (Connection) { .client = &t.client };
        return 0;
}

bool connection_admit(Connection *connection, const ClientRegistry *clients, unsigned max, unsigned per_user_max) {
        (void) clients;
        return connection->client && max == t.manager->config->connections_max &&
                        per_user_max == t.manager->config->connections_per_user_max;
}

void connection_close(Connection *connection, ClientRegistry *clients) {
        (void) clients;
        connection->client->n_connections--;
        *connection = (Connection) {};
}

/* The root of the control groups is not here: --wrap, see meson.build. */
int __wrap_open64(const char *path, int flags, ...);
int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...) {
        return __real_open64(strcmp(path, CGROUP_ROOT) == 0 ? "/" : path, flags);
}

static void on_told(void *userdata) {
        assert_ptr_equal(userdata, &t);
        t.n_told++;
}

static int setup(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        (void) state;

        memset(&t, 0, sizeof(t));
        t.directory = directory_new();
        t.idle_timeout_usec = t.allocation_timeout_usec = UINT64_MAX;
        t.scan_ends = true;
        t.notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(t.notify_fd >= 0);
        assert_true(snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", t.directory) > 0);
        assert_int_equal(bind(t.notify_fd, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(setenv("NOTIFY_SOCKET", address.sun_path, true), 0);
        assert_int_equal(unsetenv("LISTEN_FDS"), 0);
        assert_int_equal(manager_new(&t.manager), 0);
        manager_set_heaps_changed(t.manager, on_told, &t);
        return 0;
}

static int teardown(void **state) {
        (void) state;
        t.manager = manager_free(t.manager);
        assert_null(t.wait);
        assert_null(t.load);
        safe_close(t.notify_fd);
        directory_remove(t.directory);
        return 0;
}

/* Everything that was said to systemd since this was last asked. */
static const char *notified(void) {
        static char text[4096];
        size_t n = 0;
        ssize_t r;

        while ((r = recv(t.notify_fd, &text[n], sizeof(text) - 1 - n, 0)) > 0)
                n += r;
        text[n] = 0;
        return text;
}

static bool is_ready(void) {
        return strstr(notified(), "READY=1") != NULL;
}

static void finish_load(const char *heap, const ModuleResult *result) {
        ModuleLoad *load = TAKE_PTR(t.load);

        assert_non_null(load);
        ModuleLoad done = *load;
        free(load);
        assert_string_equal(done.heap, heap);
        done.on_loaded(result, done.userdata);
        loop_settle(t.manager->event);
}

static void start(void) {
        assert_int_equal(manager_startup(t.manager), 0);
        assert_false(is_ready());
        manager_serving(t.manager);
        loop_settle(t.manager->event);
}

/* Runs the loop until every short timer has fired: sd-event is a quarter of a second late at the most. */
static void wait_for_timers(void) {
        uint64_t end = now_usec() + 350 * USEC_PER_MSEC;

        while (now_usec() < end && sd_event_get_state(t.manager->event) != SD_EVENT_FINISHED)
                assert_true(sd_event_run(t.manager->event, end - now_usec()) >= 0);
}

static bool has_exited(void) {
        return sd_event_get_state(t.manager->event) == SD_EVENT_FINISHED;
}

static void test_ready(void **state) {
        (void) state;
        t.allocation_timeout_usec = 7;
        start();
        assert_true(is_ready());
        assert_string_equal(manager_product(t.manager), "dmaheapd (buffers counted by hand)");
        assert_int_equal(t.manager->allocator.timeout_usec, 7);
        assert_ptr_equal(t.manager->allocator.heaps.registry, &t.manager->heaps);
        assert_ptr_equal(t.manager->allocator.heaps.event, t.manager->event);
        assert_ptr_equal(t.manager->allocator.accounting, &t);
        assert_ptr_equal(t.manager->allocator.worker_pool, &t);
}

/* Units that need a heap at boot wait for READY=1, so it comes after the heaps of the regions. */
static void test_ready_after_regions(void **state) {
        (void) state;
        t.region = "camera";
        start();
        assert_false(is_ready());

        t.appears = "default_cma_region";
        finish_load("default_cma_region", &(ModuleResult) { .outcome = MODULE_LOADED, .module = "cma_heap" });
        assert_true(is_ready());
}

static void test_ready_where_a_load_fails(void **state) {
        (void) state;
        t.region = "camera";
        start();
        finish_load("default_cma_region",
                        &(ModuleResult) { .outcome = MODULE_FAILED, .reason = "no", .module = "cma_heap" });
        assert_true(is_ready());

        /* It is not tried again by itself, but a region that comes later is. */
        assert_int_equal(heap_registry_add_region(&t.manager->heaps, "npu", 4096, false), 0);
        loop_until(t.manager->event, t.load);
        finish_load("npu", &(ModuleResult) { .outcome = MODULE_NOT_DECLARED });
        assert_null(t.load);
        assert_false(is_ready()); /* that was said */
}

/* A region that has a heap needs no load. */
static void test_region_is_served(void **state) {
        (void) state;
        t.region = "camera";
        assert_int_equal(heap_registry_appeared(&t.manager->heaps, "camera"), 0);
        start();
        assert_null(t.load);
        assert_true(is_ready());
}

/* A client has started the daemon: only the heaps that clients ask for are loaded. */
static void test_client_is_waiting(void **state) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char pid[32];
        (void) state;
        t.region = "camera";

        assert_true(snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", t.directory) > 0);
        _cleanup_close_ int listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
                            client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(listening, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(listening, 1), 0);
        assert_int_equal(connect(client, (struct sockaddr *) &address, sizeof(address)), 0);

        /* sd_listen_fds(3) begins at 3, which may be in use here. */
        _cleanup_close_ int saved = fcntl(3, F_DUPFD_CLOEXEC, 10);
        if (listening != 3)
                assert_int_equal(dup2(listening, 3), 3);
        (void) snprintf(pid, sizeof(pid), "%d", getpid());
        assert_int_equal(setenv("LISTEN_PID", pid, true), 0);
        assert_int_equal(setenv("LISTEN_FDS", "1", true), 0);
        start();
        assert_int_equal(unsetenv("LISTEN_FDS"), 0);
        if (listening != 3)
                assert_int_equal(saved >= 0 ? dup2(saved, 3) : close(3), saved >= 0 ? 3 : 0);

        assert_null(t.load);
        assert_true(is_ready());
}

static void test_told_to_end_at_start(void **state) {
        (void) state;
        t.scan_ends = false;
        assert_int_equal(manager_startup(t.manager), -ECANCELED);
        assert_false(is_ready());
}

static void test_idle(void **state) {
        (void) state;
        t.idle_timeout_usec = 10 * USEC_PER_MSEC;
        start();
        loop_until(t.manager->event, has_exited());
        assert_non_null(strstr(notified(), "STOPPING=1"));
}

/* Each of these keeps the daemon running. */
static void test_not_idle(void **state) {
        Connection connection;
        (void) state;
        t.idle_timeout_usec = 10 * USEC_PER_MSEC;
        start();

        assert_int_equal(manager_connect(t.manager, -1, &connection), -ESRCH);
        assert_int_equal(manager_connect(t.manager, 0, &connection), 0);
        assert_true(manager_admit(t.manager, &connection));
        wait_for_timers();
        assert_false(has_exited());

        t.n_workers = 1;
        manager_disconnect(t.manager, &connection);
        assert_int_equal(t.n_forgotten, 1);
        assert_null(connection.client);
        wait_for_timers();
        assert_false(has_exited());
        t.n_workers = 0;

        t.manager->allocator.requests = (AllocateRequest *) &t;
        wait_for_timers();
        assert_false(has_exited());
        t.manager->allocator.requests = NULL;

        t.busy = true;
        wait_for_timers();
        assert_false(has_exited());
        t.busy = false;

        t.census = true;
        wait_for_timers();
        assert_false(has_exited());
        t.census = false;

        assert_int_equal(heap_registry_add_region(&t.manager->heaps, "npu", 4096, false), 0);
        loop_until(t.manager->event, t.load);
        wait_for_timers();
        assert_false(has_exited());
        finish_load("default_cma_region", &(ModuleResult) { .outcome = MODULE_NOT_DECLARED });

        loop_until(t.manager->event, has_exited());
}

/* The workers of a client end with its last connection. */
static void test_last_connection(void **state) {
        Connection a, b;
        (void) state;
        start();

        assert_int_equal(manager_connect(t.manager, 0, &a), 0);
        assert_int_equal(manager_connect(t.manager, 0, &b), 0);
        manager_disconnect(t.manager, &a);
        assert_int_equal(t.n_forgotten, 0);
        manager_disconnect(t.manager, &a); /* none */
        manager_disconnect(t.manager, &b);
        assert_int_equal(t.n_forgotten, 1);
        assert_int_equal(t.manager->n_connections, 0);
}

static void test_reload(void **state) {
        (void) state;
        start();
        (void) notified();

        t.allocation_timeout_usec = 9;
        assert_int_equal(kill(getpid(), SIGHUP), 0);
        loop_until(t.manager->event, t.n_configured == 1);
        const char *said = notified();
        assert_int_equal(strncmp(said, "RELOADING=1\nMONOTONIC_USEC=", strlen("RELOADING=1\nMONOTONIC_USEC=")), 0);
        assert_non_null(strstr(said, "READY=1"));
        assert_int_equal(t.manager->allocator.timeout_usec, 9);
        assert_ptr_equal(t.manager->heaps.roles, t.manager->config->roles);

        /* A configuration that cannot be had leaves the old one. */
        const Config *config = t.manager->config;
        t.config_result = -ENOMEM;
        assert_int_equal(kill(getpid(), SIGHUP), 0);
        loop_until(t.manager->event, strstr(notified(), "READY=1"));
        assert_ptr_equal(t.manager->config, config);
        assert_int_equal(t.n_configured, 1);
}

/* Before the first READY=1 a reload does not say it either. */
static void test_reload_before_ready(void **state) {
        (void) state;
        t.region = "camera";
        start();
        assert_int_equal(kill(getpid(), SIGHUP), 0);
        loop_until(t.manager->event, t.n_configured == 1);
        assert_false(is_ready());
}

static void test_changes_are_told_together(void **state) {
        (void) state;
        start();
        wait_for_timers();
        t.n_told = 0;

        for (unsigned i = 0; i < 5; i++)
                heap_registry_changed(&t.manager->heaps);
        assert_int_equal(t.n_told, 0);
        loop_until(t.manager->event, t.n_told > 0);
        wait_for_timers();
        assert_int_equal(t.n_told, 1);

        manager_set_heaps_changed(t.manager, NULL, NULL);
        heap_registry_changed(&t.manager->heaps);
        wait_for_timers();
        assert_int_equal(t.n_told, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_ready, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ready_after_regions, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ready_where_a_load_fails, setup, teardown),
                cmocka_unit_test_setup_teardown(test_region_is_served, setup, teardown),
                cmocka_unit_test_setup_teardown(test_client_is_waiting, setup, teardown),
                cmocka_unit_test_setup_teardown(test_told_to_end_at_start, setup, teardown),
                cmocka_unit_test_setup_teardown(test_idle, setup, teardown),
                cmocka_unit_test_setup_teardown(test_not_idle, setup, teardown),
                cmocka_unit_test_setup_teardown(test_last_connection, setup, teardown),
                cmocka_unit_test_setup_teardown(test_reload, setup, teardown),
                cmocka_unit_test_setup_teardown(test_reload_before_ready, setup, teardown),
                cmocka_unit_test_setup_teardown(test_changes_are_told_together, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
