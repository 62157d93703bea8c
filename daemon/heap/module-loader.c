/* SPDX-License-Identifier: GPL-2.0-only */

/* Runs the children that load modules, each for one job, and reports to the loads that wait for it. The invariants:
 * each load is reported once, whatever becomes of the child, or not at all once it was cancelled; and no two children
 * load the same module at the same time. */

#include <stdio.h>
#include <sys/epoll.h>

#include "heap/module-loader.h"
#include "util/child.h"
#include "util/fd-util.h"
#include "util/list.h"
#include "util/log.h"

/* The most children at a time: a client may ask for one name after another, and each costs a child. */
#define CHILDREN_MAX 8U

/* One alias that is to be loaded, or the scan (heap is NULL). */
typedef struct Job Job;
struct Job {
        Job *next; /* in the order in which they came */
        ModuleLoader *loader;
        char *heap;
        char *module; /* expected, or NULL */
        ModuleLoad *waiters;
        bool started; /* it has a child, or could not get one */
        Child *child;
        sd_event_source *source; /* the child's end, or the report that there is no child */
};

struct ModuleLoad {
        ModuleLoad *next;
        Job *job;
        module_loaded_t on_loaded;
        void *userdata;
};

struct ModuleLoader {
        sd_event *event;
        modules_scanned_t on_scanned;
        void *userdata;
        Job *jobs;
        unsigned n_children;
};

static Job *job_free(Job *job) {
        if (!job)
                return NULL;

        while (job->waiters)
                free(LIST_TAKE_FIRST(job->waiters));

        sd_event_source_disable_unref(job->source);
        child_free(job->child);
        free(job->heap);
        free(job->module);
        free(job);
        return NULL;
}
DEFINE_CLEANUP(Job, job_free);

int module_loader_new(sd_event *event, modules_scanned_t on_scanned, void *userdata, ModuleLoader **ret) {
        ModuleLoader *loader = calloc(1, sizeof(ModuleLoader));
        if (!loader)
                return -ENOMEM;

        loader->event = sd_event_ref(event);
        loader->on_scanned = on_scanned;
        loader->userdata = userdata;
        *ret = loader;
        return 0;
}

ModuleLoader *module_loader_free(ModuleLoader *loader) {
        if (!loader)
                return NULL;

        while (loader->jobs)
                job_free(LIST_TAKE_FIRST(loader->jobs));

        sd_event_unref(loader->event);
        free(loader);
        return NULL;
}

bool module_loader_busy(const ModuleLoader *loader) {
        return loader->jobs != NULL;
}

/* The children's functions. */

static int load_in_child(int result_fd, void *userdata) {
        const Job *job = userdata;
        ModuleResult result;

        module_load_now(job->heap, &result);
        return pwrite_all(result_fd, &result, sizeof(result), 0);
}

static int scan_in_child(int result_fd, void *userdata _unused_) {
        ModuleDeclaration *declarations = calloc(MODULE_DECLARATIONS_MAX, sizeof(ModuleDeclaration));
        if (!declarations)
                return -ENOMEM;

        return pwrite_all(result_fd, declarations, module_scan_now(declarations) * sizeof(ModuleDeclaration), 0);
}

/* result_fd: -EBADF if the child has left nothing. */
static void job_report_load(Job *job, int result_fd) {
        ModuleResult result;

        if (result_fd < 0 || pread_all(result_fd, &result, sizeof(result), 0) < 0) {
                result = (ModuleResult) { .outcome = MODULE_FAILED };
                (void) snprintf(result.reason,
                                sizeof(result.reason),
                                "the process that was to load the module ended early");
                if (job->module)
                        (void) snprintf(result.module, sizeof(result.module), "%s", job->module);
        }

        /* A callback may cancel other loads of this job: take one at a time. */
        while (job->waiters) {
                _cleanup_free_ ModuleLoad *load = LIST_TAKE_FIRST(job->waiters);

                load->on_loaded(&result, load->userdata);
                result.inserted = false;
        }
}

static void job_report_scan(Job *job, int result_fd) {
        ModuleDeclaration declarations[MODULE_DECLARATIONS_MAX];
        ssize_t n = result_fd < 0 ? 0 : pread(result_fd, declarations, sizeof(declarations), 0);

        job->loader->on_scanned(declarations, n > 0 ? n / sizeof(ModuleDeclaration) : 0, job->loader->userdata);
}

static void loader_start_jobs(ModuleLoader *loader);

/* Ends a job, with whatever its child has left, or without a child. */
static void job_finish(Job *job) {
        ModuleLoader *loader = job->loader;
        _cleanup_close_ int result_fd = -EBADF;

        job->source = sd_event_source_disable_unref(job->source); /* before the pidfd is closed */
        if (job->child) {
                int r = child_finish(TAKE_PTR(job->child), &result_fd);
                if (r < 0)
                        (void) log_debug_errno(r, "A process for the kernel modules ended without a result: %m");
                loader->n_children--;
        }

        LIST_REMOVE(loader->jobs, job);
        if (job->heap)
                job_report_load(job, result_fd);
        else
                job_report_scan(job, result_fd);
        job_free(job);
        loader_start_jobs(loader);
}

static int on_child(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        job_finish(userdata);
        return 0;
}

static int on_not_started(sd_event_source *source _unused_, void *userdata) {
        job_finish(userdata);
        return 0;
}

static int job_start(Job *job) {
        _cleanup_(child_freep) Child *child = NULL;
        int r;

        r = child_start(
                        &(ChildParameters) {
                                .name = job->heap ? "module-load" : "module-scan",
                                .run = job->heap ? load_in_child : scan_in_child,
                                .userdata = job,
                                .result_size_max = job->heap ? sizeof(ModuleResult) :
                                                               MODULE_DECLARATIONS_MAX * sizeof(ModuleDeclaration),
                        },
                        &child);
        if (r < 0)
                return r;

        r = sd_event_add_io(job->loader->event, &job->source, child_pidfd(child), EPOLLIN, on_child, job);
        if (r < 0)
                return r;

        (void) sd_event_source_set_description(job->source, job->heap ? "module-load" : "module-scan");
        job->child = TAKE_PTR(child);
        job->loader->n_children++;
        return 0;
}

/* Loads of one module are done one after the other: two at a time would race in the kernel. */
static bool job_must_wait(const Job *job) {
        for (const Job *other = job->loader->jobs; other != job; other = other->next)
                if (job->module && streq_ptr(job->module, other->module))
                        return true;
        return false;
}

static void loader_start_jobs(ModuleLoader *loader) {
        for (Job *job = loader->jobs; job && loader->n_children < CHILDREN_MAX; job = job->next) {
                if (job->started || job_must_wait(job))
                        continue;

                job->started = true;
                int r = job_start(job);
                if (r < 0) {
                        (void) log_error_errno(r, "Cannot start a process for the kernel modules: %m");

                        /* From the event loop: module_loader_load() must return before its load is reported. */
                        (void) sd_event_add_defer(loader->event, &job->source, on_not_started, job);
                }
        }
}

static int add_job(ModuleLoader *loader, const char *heap, const char *module, Job **ret) {
        _cleanup_(job_freep) Job *job = calloc(1, sizeof(Job));
        if (!job)
                return -ENOMEM;

        job->loader = loader;
        if (heap) {
                job->heap = strdup(heap);
                if (!job->heap)
                        return -ENOMEM;
        }
        if (module) {
                job->module = strdup(module);
                if (!job->module)
                        return -ENOMEM;
        }

        LIST_APPEND(loader->jobs, job);
        *ret = TAKE_PTR(job);
        return 0;
}

static Job *find_job(ModuleLoader *loader, const char *heap) {
        for (Job *job = loader->jobs; job; job = job->next)
                if (streq_ptr(job->heap, heap))
                        return job;
        return NULL;
}

int module_loader_load(ModuleLoader *loader, const char *heap, const char *module, module_loaded_t on_loaded,
                void *userdata, ModuleLoad **ret) {
        ModuleLoad *load = malloc(sizeof(ModuleLoad));
        if (!load)
                return -ENOMEM;

        Job *job = find_job(loader, heap);
        bool added = !job;
        if (added) {
                int r = add_job(loader, heap, module, &job);
                if (r < 0) {
                        free(load);
                        return r;
                }
        }

        *load = (ModuleLoad) { .job = job, .on_loaded = on_loaded, .userdata = userdata };
        LIST_PREPEND(job->waiters, load);
        *ret = load;

        if (added)
                loader_start_jobs(loader);
        return 0;
}

ModuleLoad *module_load_cancel(ModuleLoad *load) {
        if (!load)
                return NULL;

        LIST_REMOVE(load->job->waiters, load);
        free(load);
        return NULL;
}

int module_loader_scan(ModuleLoader *loader) {
        Job *job;

        if (find_job(loader, NULL))
                return 0;

        int r = add_job(loader, NULL, NULL, &job);
        if (r < 0)
                return r;

        loader_start_jobs(loader);
        return 0;
}
