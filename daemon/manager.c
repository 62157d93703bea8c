/* SPDX-License-Identifier: GPL-2.0-only */

/* The manager sets up the daemon, loads heaps for the regions of the machine, reads the configuration again on SIGHUP,
 * and exits when the daemon is idle.
 *
 * Invariants: the first READY=1 is sent when clients can connect and no region waits for its heap. The daemon exits by
 * itself only while nobody is connected and no request, worker, load or census is under way. */

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "build-config.h"
#include "config/config-load.h"
#include "manager.h"
#include "util/fd-util.h"
#include "util/log.h"
#include "util/time-util.h"

#define SPAWNER_PATH LIBEXECDIR "/dmaheapd-spawner"

/* Heap changes within this interval are reported together, since usage changes with every buffer. */
#define CHANGED_DELAY_USEC (50 * USEC_PER_MSEC)

static void manager_load_regions(Manager *manager);

static void manager_announce(Manager *manager) {
        if (manager->announced || manager->region_choice || !manager->serving)
                return;

        (void) sd_notify(false, "READY=1\nSTATUS=Serving dma-buf heaps.");
        manager->announced = true;
}

void manager_serving(Manager *manager) {
        manager->serving = true;
        manager_announce(manager);
}

static HeapFit on_region_fits(const Heap *heap _unused_, void *userdata _unused_) {
        return HEAP_FIT;
}

static void on_region_chosen(const ChoiceResult *result _unused_, void *userdata) {
        Manager *manager = userdata;

        /* A failure is in the journal, and the heap's reason. */
        manager->region_choice = heap_choice_free(manager->region_choice);
        manager_load_regions(manager);
        manager_announce(manager);
}

/* Loads the heaps of regions that no ready heap serves, one after the other, so that they are there before a client
 * asks. */
static void manager_load_regions(Manager *manager) {
        for (Region *region = manager->heaps.regions; region && !manager->region_choice; region = region->next) {
                if (region->load_tried)
                        continue;

                region->load_tried = true;
                if (heap_registry_is_served(&manager->heaps, region))
                        continue;

                int r = heap_choice_new(&manager->allocator.heaps,
                                heap_registry_heap_of(&manager->heaps, region),
                                NULL,
                                on_region_fits,
                                on_region_chosen,
                                manager,
                                &manager->region_choice);
                if (r < 0)
                        (void) log_warning_errno(r, "Cannot load the heap of region %s: %m", region->name);
        }
}

static int on_heaps_changed_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Manager *manager = userdata;

        manager_load_regions(manager);
        if (manager->on_heaps_changed)
                manager->on_heaps_changed(manager->on_heaps_changed_userdata);
        return 0;
}

static void on_heaps_changed(void *userdata) {
        Manager *manager = userdata;

        int enabled;

        if (sd_event_source_get_enabled(manager->changed_source, &enabled) < 0 || enabled != SD_EVENT_OFF)
                return;

        (void) sd_event_source_set_time_relative(manager->changed_source, CHANGED_DELAY_USEC);
        (void) sd_event_source_set_enabled(manager->changed_source, SD_EVENT_ONESHOT);
}

void manager_set_heaps_changed(Manager *manager, heap_changed_t callback, void *userdata) {
        manager->on_heaps_changed = callback;
        manager->on_heaps_changed_userdata = userdata;
}

static bool manager_is_idle(const Manager *manager) {
        int news = SD_EVENT_OFF; /* a change may be of a region whose heap has to be loaded */

        (void) sd_event_source_get_enabled(manager->changed_source, &news);

        return news == SD_EVENT_OFF && manager->n_connections == 0 && !manager->allocator.requests &&
                        !manager->region_choice && worker_pool_n_workers(manager->worker_pool) == 0 &&
                        !module_loader_busy(heap_scan_loader(manager->heap_scan)) &&
                        !accounting_busy(manager->accounting);
}

static int manager_watch_idle(Manager *manager);

static int on_idle(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        Manager *manager = userdata;

        if (manager->n_connections > 0)
                return 0; /* manager_disconnect() sets the timer again */
        if (!manager_is_idle(manager))
                return manager_watch_idle(manager);

        log_debug("No client is connected and no work is left, exiting.");
        (void) sd_notify(false, "STOPPING=1");
        return sd_event_exit(manager->event, 0);
}

static int manager_watch_idle(Manager *manager) {
        manager->idle_source = sd_event_source_disable_unref(manager->idle_source);

        if (manager->config->idle_timeout_usec == UINT64_MAX)
                return 0;

        return sd_event_add_time_relative(manager->event,
                        &manager->idle_source,
                        CLOCK_MONOTONIC,
                        manager->config->idle_timeout_usec,
                        0,
                        on_idle,
                        manager);
}

static void on_config_problem(const char *path, unsigned line, const char *message, void *userdata _unused_) {
        if (line > 0)
                log_warning("%s:%u: %s", path, line, message);
        else
                log_warning("%s: %s", path, message);
}

static int manager_load_config(Manager *manager) {
        Config *config;

        int r = config_load(NULL, on_config_problem, NULL, &config);
        if (r < 0)
                return r;

        /* The registry borrows the roles, so it lets go of the old ones first. */
        heap_registry_set_roles(&manager->heaps, config->roles);
        config_free(manager->config);
        manager->config = config;
        manager->allocator.timeout_usec = config->allocation_timeout_usec;
        on_heaps_changed(manager);
        return 0;
}

static int on_sighup(sd_event_source *source _unused_, const struct signalfd_siginfo *si _unused_, void *userdata) {
        Manager *manager = userdata;

        (void) sd_notifyf(false, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_usec(CLOCK_MONOTONIC));

        int r = manager_load_config(manager);
        if (r >= 0 && manager->accounting)
                r = accounting_config_changed(manager->accounting);
        if (r < 0)
                (void) log_error_errno(r, "Cannot read the configuration again, keeping the old one: %m");
        else
                log_info("Configuration read again.");
        if (manager->n_connections == 0)
                (void) manager_watch_idle(manager);

        if (manager->announced)
                (void) sd_notify(false, "READY=1");
        return 0;
}

int manager_new(Manager **ret) {
        _cleanup_(manager_freep) Manager *manager = calloc(1, sizeof(Manager));
        int r;

        if (!manager)
                return -ENOMEM;

        manager->cgroup_root_fd = -EBADF;
        heap_registry_init(&manager->heaps, on_heaps_changed, manager);

        /* sd_event_add_child(3) needs it blocked. Children are started with an empty mask. */
        sigset_t sigchld;
        (void) sigemptyset(&sigchld);
        (void) sigaddset(&sigchld, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &sigchld, NULL) < 0)
                return -errno;

        r = sd_event_new(&manager->event);
        if (r < 0)
                return r;

        r = sd_event_set_signal_exit(manager->event, true); /* SIGTERM and SIGINT */
        if (r < 0)
                return r;

        r = sd_event_add_signal(
                        manager->event, &manager->sighup_source, SIGHUP | SD_EVENT_SIGNAL_PROCMASK, on_sighup, manager);
        if (r < 0)
                return r;

        (void) sd_event_set_watchdog(manager->event, true);

        r = sd_event_add_time(manager->event,
                        &manager->changed_source,
                        CLOCK_MONOTONIC,
                        UINT64_MAX,
                        0,
                        on_heaps_changed_timer,
                        manager);
        if (r >= 0)
                r = sd_event_source_set_enabled(manager->changed_source, SD_EVENT_OFF);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(manager);
        return 0;
}

Manager *manager_free(Manager *manager) {
        if (!manager)
                return NULL;

        allocator_done(&manager->allocator);
        heap_choice_free(manager->region_choice);
        worker_pool_free(manager->worker_pool);
        device_monitor_free(manager->device_monitor);
        heap_scan_free(manager->heap_scan);
        accounting_free(manager->accounting);
        heap_registry_done(&manager->heaps);
        client_registry_done(&manager->clients);
        config_free(manager->config);
        sd_event_source_disable_unref(manager->idle_source);
        sd_event_source_disable_unref(manager->sighup_source);
        sd_event_source_disable_unref(manager->changed_source);
        sd_event_unref(manager->event);
        safe_close(manager->cgroup_root_fd);
        free(manager->product);
        free(manager);
        return NULL;
}

static void on_first_scan(void *userdata) {
        *(bool *) userdata = true;
}

/* Waits for a scan of the modules. Nothing else in the daemon runs the event loop like this; no client is connected
 * yet. */
static int manager_first_scan(Manager *manager) {
        RoundWait *wait;
        bool done = false;
        int r;

        r = heap_scan_wait(manager->heap_scan, on_first_scan, &done, &wait);
        while (r >= 0 && !done && sd_event_get_state(manager->event) != SD_EVENT_FINISHED)
                r = sd_event_run(manager->event, UINT64_MAX);
        if (r >= 0 && !done) { /* SIGTERM or SIGINT */
                round_wait_cancel(wait);
                r = -ECANCELED;
        }

        return r;
}

/* Whether a client has started the daemon: then only the heaps that clients ask for are loaded. Otherwise
 * cma-region.target or an administrator has, and the heaps of all regions are. */
static bool client_is_waiting(void) {
        int n = sd_listen_fds(false);

        for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + n; fd++) {
                struct pollfd p = { .fd = fd, .events = POLLIN };

                if (poll(&p, 1, 0) > 0)
                        return true;
        }

        return false;
}

/* Finds the heaps, the regions and the loadable heaps. Returns 0; -ECANCELED; or -errno, logged. */
static int manager_start_heaps(Manager *manager) {
        int r;

        r = heap_scan_new(manager->event, &manager->heaps, &manager->heap_scan);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the loading of modules: %m");

        r = device_monitor_new(manager->event, &manager->heaps, "/sys", &manager->device_monitor);
        if (r < 0)
                return log_error_errno(r, "Cannot follow the devices: %m");

        manager->allocator.heaps = (HeapSources) {
                .event = manager->event,
                .registry = &manager->heaps,
                .scan = manager->heap_scan,
                .monitor = manager->device_monitor,
        };

        bool waiting = client_is_waiting();
        for (Region *region = manager->heaps.regions; region; region = region->next)
                region->load_tried = waiting;

        r = manager_first_scan(manager);
        if (r < 0 && r != -ECANCELED)
                return log_error_errno(r, "Cannot look for kernel modules of heaps: %m");

        return r;
}

int manager_startup(Manager *manager) {
        int r;

        r = manager_load_config(manager);
        if (r < 0)
                return log_error_errno(r, "Cannot read the configuration: %m");

        manager->cgroup_root_fd = open(CGROUP_ROOT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (manager->cgroup_root_fd < 0)
                return log_error_errno(errno, "Cannot open %s: %m", CGROUP_ROOT);

        r = worker_pool_new(manager->event, SPAWNER_PATH, &manager->worker_pool);
        if (r < 0)
                return log_error_errno(r, "Cannot start %s: %m", SPAWNER_PATH);

        r = manager_start_heaps(manager);
        if (r < 0)
                return r;

        r = accounting_start(manager->event,
                        &manager->config,
                        &manager->heaps,
                        &manager->clients,
                        manager->cgroup_root_fd,
                        &manager->accounting);
        if (r < 0)
                return r;

        manager->allocator.worker_pool = manager->worker_pool;
        manager->allocator.accounting = manager->accounting;

        _cleanup_free_ char *census = accounting_describe_census(manager->accounting);
        if (!census || asprintf(&manager->product, "dmaheapd (%s)", census) < 0)
                return log_error_errno(ENOMEM, "Cannot set up the daemon: %m");

        manager_load_regions(manager);

        r = manager_watch_idle(manager);
        if (r < 0)
                return log_error_errno(r, "Cannot set a timer: %m");

        return 0;
}

const char *manager_product(const Manager *manager) {
        return manager->product;
}

int manager_connect(Manager *manager, int socket_fd, Connection *ret) {
        int r = connection_open(&manager->clients, manager->cgroup_root_fd, socket_fd, ret);
        if (r < 0)
                return r;

        manager->n_connections++;
        manager->idle_source = sd_event_source_disable_unref(manager->idle_source);
        return 0;
}

bool manager_admit(Manager *manager, Connection *connection) {
        const Config *config = manager->config;

        return connection_admit(
                        connection, &manager->clients, config->connections_max, config->connections_per_user_max);
}

void manager_disconnect(Manager *manager, Connection *connection) {
        if (!connection->client)
                return;

        if (connection->client->n_connections == 1)
                worker_pool_forget_client(manager->worker_pool, connection->client);
        connection_close(connection, &manager->clients);

        if (--manager->n_connections == 0)
                (void) manager_watch_idle(manager);
}
