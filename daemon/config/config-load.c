/* SPDX-License-Identifier: GPL-2.0-only */

/* Finds the configuration files and applies them in their order: the main file, then the drop-ins. A later file
 * replaces what an earlier one said. A problem in one file never keeps another from being read, and never makes
 * loading fail. */

#include <dirent.h>
#include <limits.h>
#include <stdio.h>

#include "config/config-file.h"
#include "config/config-keys.h"
#include "config/config-load.h"

/* The directories of the UAPI group's specification, the one that counts most first. */
static const char *const directories[] = { "etc", "run", "usr/local/lib", "usr/lib" };

/* Reads the file reporter->path into the Config. Returns 1, or 0 when there is no such file, or -ENOMEM. */
static int apply_file(Config *config, ConfigReporter *reporter) {
        _cleanup_(config_file_freep) ConfigFile *file = NULL;

        int r = config_file_read(reporter, &file);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return r;

        for (size_t i = 0; i < file->n_assignments; i++) {
                r = config_apply(config, reporter, &file->assignments[i]);
                if (r < 0)
                        return r;
        }

        return 1;
}

static int apply_main_file(Config *config, const char *root, ConfigReporter *reporter) {
        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                _cleanup_free_ char *path = NULL;
                if (asprintf(&path, "%s/%s/dmaheapd/dmaheapd.conf", root, directories[i]) < 0)
                        return -ENOMEM;

                reporter->path = path;
                int r = apply_file(config, reporter);
                reporter->path = NULL;
                if (r != 0)
                        return r;
        }

        return 0;
}

typedef struct DropIn {
        const char *name; /* the end of path */
        char *path;
} DropIn;

typedef struct DropIns {
        DropIn *files;
        size_t n;
} DropIns;

static void drop_ins_done(DropIns *d) {
        for (size_t i = 0; i < d->n; i++)
                free(d->files[i].path);
        free(d->files);
}

static int compare_drop_ins(const void *a, const void *b) {
        return strcmp(((const DropIn *) a)->name, ((const DropIn *) b)->name);
}

/* Adds a file of one directory, unless it is no drop-in or has the name of one that is there. */
static int add_drop_in(DropIns *d, const char *directory, const char *name) {
        size_t n = strlen(name), n_suffix = strlen(".conf");

        if (name[0] == '.' || n <= n_suffix || !streq(name + n - n_suffix, ".conf"))
                return 0;

        for (size_t i = 0; i < d->n; i++)
                if (streq(d->files[i].name, name))
                        return 0;

        DropIn *larger = realloc(d->files, (d->n + 1) * sizeof(*larger));
        if (!larger)
                return -ENOMEM;
        d->files = larger;

        char *path;
        if (asprintf(&path, "%s/%s", directory, name) < 0)
                return -ENOMEM;

        d->files[d->n++] = (DropIn) { .name = path + strlen(directory) + 1, .path = path };
        return 0;
}

/* Adds the drop-ins of one directory. Directories come in the order of their weight, so a name that is there masks
 * the one found now. */
static int collect_drop_ins(DropIns *d, const char *root, const char *directory, ConfigReporter *reporter) {
        _cleanup_free_ char *path = NULL;
        if (asprintf(&path, "%s/%s/dmaheapd/dmaheapd.conf.d", root, directory) < 0)
                return -ENOMEM;

        DIR *dir = opendir(path);
        if (!dir) {
                if (errno == ENOENT || errno == ENOTDIR)
                        return 0;
                reporter->path = path;
                config_report(reporter, 0, "cannot be opened: %s", strerror(errno));
                reporter->path = NULL;
                return 0;
        }

        int r = 0;
        for (struct dirent *entry; r >= 0 && (entry = readdir(dir));)
                r = add_drop_in(d, path, entry->d_name);

        (void) closedir(dir);
        return r;
}

static int apply_drop_ins(Config *config, const char *root, ConfigReporter *reporter) {
        _cleanup_(drop_ins_done) DropIns d = {};
        int r;

        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                r = collect_drop_ins(&d, root, directories[i], reporter);
                if (r < 0)
                        return r;
        }

        if (d.n > 0)
                qsort(d.files, d.n, sizeof(*d.files), compare_drop_ins);

        for (size_t i = 0; i < d.n; i++) {
                reporter->path = d.files[i].path;
                r = apply_file(config, reporter);
                reporter->path = NULL;
                if (r < 0)
                        return r;
        }

        return 0;
}

int config_load(const char *root, config_problem_t on_problem, void *userdata, Config **ret) {
        ConfigReporter reporter = { .on_problem = on_problem, .userdata = userdata };

        _cleanup_(config_freep) Config *config = config_new();
        if (!config)
                return -ENOMEM;

        int r = apply_main_file(config, root ?: "", &reporter);
        if (r < 0)
                return r;

        r = apply_drop_ins(config, root ?: "", &reporter);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(config);
        return MIN(reporter.n_problems, (unsigned) INT_MAX);
}

int config_check_file(const char *path, config_problem_t on_problem, void *userdata) {
        ConfigReporter reporter = { .on_problem = on_problem, .userdata = userdata, .path = path };

        _cleanup_(config_freep) Config *config = config_new();
        if (!config)
                return -ENOMEM;

        int r = apply_file(config, &reporter);
        if (r < 0)
                return r;
        if (r == 0)
                config_report(&reporter, 0, "does not exist");

        return MIN(reporter.n_problems, (unsigned) INT_MAX);
}
