/* SPDX-License-Identifier: GPL-2.0-only */

/* The daemon's side of loading modules: jobs, who waits for them, and the children that do them. A child leaves its result
 * in a memfd, which is read when the child has exited; a child that dies without one has failed. */

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "fd-util.h"
#include "list.h"
#include "log.h"
#include "module-kmod.h"

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
        pid_t pid; /* 0 until started, -1 when it could not be */
        int output_fd;
        sd_event_source *source; /* the child's end */
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
        safe_close(job->output_fd);
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

        while (loader->jobs) {
                Job *job = LIST_TAKE_FIRST(loader->jobs);

                if (job->pid > 0)
                        (void) kill(job->pid, SIGKILL);
                job_free(job);
        }

        sd_event_unref(loader->event);
        free(loader);
        return NULL;
}

bool module_loader_busy(const ModuleLoader *loader) {
        return loader->jobs != NULL;
}

static void write_result(int fd, const void *data, size_t size) {
        while (size > 0) {
                ssize_t n = write(fd, data, size);

                if (n <= 0)
                        return; /* the parent sees a result that is too short */
                data = (const uint8_t *) data + n;
                size -= n;
        }
}

/* In the child: nothing of the daemon's but the result's file and the log may stay open, since a client whose connection a
 * child held would not learn that the daemon closed it. */
__attribute__((noreturn)) static void run_child(const Job *job) {
        sigset_t none;
        int fd = dup2(job->output_fd, STDERR_FILENO + 1);

        if (fd < 0 || close_range(fd + 1, ~0U, 0) < 0)
                _exit(EXIT_FAILURE);

        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);

        if (job->heap) {
                ModuleResult result;

                module_load_now(job->heap, &result);
                write_result(fd, &result, sizeof(result));
        } else {
                ModuleDeclaration *declarations = calloc(MODULE_DECLARATIONS_MAX, sizeof(ModuleDeclaration));

                if (declarations)
                        write_result(fd, declarations, module_scan_now(declarations) * sizeof(ModuleDeclaration));
        }

        _exit(EXIT_SUCCESS);
}

static void loader_start_jobs(ModuleLoader *loader);

static void job_report_load(Job *job) {
        ModuleResult result;

        if (job->output_fd < 0 || pread(job->output_fd, &result, sizeof(result), 0) != sizeof(result)) {
                result = (ModuleResult) { .outcome = MODULE_FAILED };
                (void) snprintf(result.reason, sizeof(result.reason), "the process that was to load the module ended early");
                if (job->module)
                        (void) snprintf(result.module, sizeof(result.module), "%s", job->module);
        }

        /* A waiter's callback may cancel other waiters: take one at a time. */
        while (job->waiters) {
                _cleanup_free_ ModuleLoad *load = LIST_TAKE_FIRST(job->waiters);

                load->on_loaded(&result, load->userdata);
                result.inserted = false;
        }
}

static void job_report_scan(Job *job) {
        size_t room = MODULE_DECLARATIONS_MAX * sizeof(ModuleDeclaration);
        _cleanup_free_ ModuleDeclaration *declarations = malloc(room);
        ssize_t n = -1;

        if (declarations && job->output_fd >= 0)
                n = pread(job->output_fd, declarations, room, 0);

        job->loader->on_scanned(declarations, n > 0 ? n / sizeof(ModuleDeclaration) : 0, job->loader->userdata);
}

/* Ends a job, with whatever its child left behind. */
static void job_finish(Job *job) {
        ModuleLoader *loader = job->loader;

        LIST_REMOVE(loader->jobs, job);
        if (job->heap)
                job_report_load(job);
        else
                job_report_scan(job);
        job_free(job);
        loader_start_jobs(loader);
}

static int on_child(sd_event_source *source _unused_, const siginfo_t *si _unused_, void *userdata) {
        Job *job = userdata;

        job->loader->n_children--;
        job_finish(job);
        return 0;
}

static int on_not_started(sd_event_source *source _unused_, void *userdata) {
        job_finish(userdata);
        return 0;
}

static int job_start(Job *job) {
        job->output_fd = memfd_create("module-loader", MFD_CLOEXEC);
        if (job->output_fd < 0)
                return -errno;

        pid_t pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                run_child(job);

        int r = sd_event_add_child(job->loader->event, &job->source, pid, WEXITED, on_child, job);
        if (r < 0) {
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
                return r;
        }

        (void) sd_event_source_set_description(job->source, job->heap ? "module-load" : "module-scan");
        job->pid = pid;
        job->loader->n_children++;
        return 0;
}

/* A module that another job is loading is waited for, rather than raced. */
static bool job_must_wait(const Job *job) {
        for (const Job *other = job->loader->jobs; other != job; other = other->next)
                if (job->module && streq_ptr(job->module, other->module))
                        return true;
        return false;
}

static void loader_start_jobs(ModuleLoader *loader) {
        for (Job *job = loader->jobs, *next; job && loader->n_children < CHILDREN_MAX; job = next) {
                next = job->next;

                if (job->pid != 0 || job_must_wait(job))
                        continue;

                int r = job_start(job);
                if (r < 0) {
                        (void) log_error_errno(r, "Cannot start a process for the kernel modules: %m");

                        /* From the event loop, since whoever asks for a load does not expect the answer before its call returns. */
                        job->pid = -1;
                        (void) sd_event_add_defer(loader->event, &job->source, on_not_started, job);
                }
        }
}

static int add_job(ModuleLoader *loader, const char *heap, const char *module, Job **ret) {
        _cleanup_(job_freep) Job *job = calloc(1, sizeof(Job));
        if (!job)
                return -ENOMEM;

        job->loader = loader;
        job->output_fd = -EBADF;
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

int module_loader_load(ModuleLoader *loader, const char *heap, const char *module,
                       module_loaded_t on_loaded, void *userdata, ModuleLoad **ret) {
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
