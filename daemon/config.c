/* SPDX-License-Identifier: GPL-2.0-only */

#include <dirent.h>
#include <limits.h>
#include <stdio.h>

#include "config-keys.h"
#include "strv.h"

/* The directories of the UAPI group's specification, the one that counts most first. */
static const char *const directories[] = { "etc", "run", "usr/local/lib", "usr/lib" };

static void policy_heap_done(PolicyHeap *heap) {
        free(heap->name);
        strv_free(heap->reserve_for);
        free(heap->allow_uids);
        free(heap->allow_gids);
        strv_free(heap->allow_units);
}

static Role *role_free(Role *role) {
        if (!role)
                return NULL;

        free(role->name);
        strv_free(role->heaps);
        free(role);
        return NULL;
}
DEFINE_CLEANUP(Role, role_free);

Config *config_free(Config *config) {
        if (!config)
                return NULL;

        for (size_t i = 0; i < config->policy.n_heaps; i++)
                policy_heap_done(&config->policy.heaps[i]);
        free(config->policy.heaps);

        for (size_t i = 0; i < config->policy.n_clients; i++)
                free(config->policy.clients[i].unit);
        free(config->policy.clients);

        for (Role *role = config->roles, *next; role; role = next) {
                next = role->next;
                role_free(role);
        }

        free(config);
        return NULL;
}

/* Makes an array one element longer and gives the new one, zeroed, with its name set. */
#define APPEND_NAMED(array, n, member, value)                                             \
        ({                                                                                \
                typeof(array) _larger = realloc((array), ((n) + 1) * sizeof(*(array)));   \
                typeof(array) _new = NULL;                                                \
                if (_larger) {                                                            \
                        (array) = _larger;                                                \
                        _new = &_larger[n];                                               \
                        memset(_new, 0, sizeof(*_new));                                   \
                        _new->member = strdup(value);                                     \
                        if (_new->member)                                                 \
                                (n)++;                                                    \
                        else                                                              \
                                _new = NULL;                                              \
                }                                                                         \
                _new;                                                                     \
        })

/* Finds the element of a name, or appends one. */
#define GET_NAMED(array, n, member, value)                                                \
        ({                                                                                \
                typeof(array) _found = NULL;                                              \
                for (size_t _i = 0; _i < (n) && !_found; _i++)                            \
                        if (streq((array)[_i].member, (value)))                           \
                                _found = &(array)[_i];                                    \
                _found ?: APPEND_NAMED(array, n, member, value);                          \
        })

PolicyHeap *config_get_heap(Config *config, const char *name) {
        return GET_NAMED(config->policy.heaps, config->policy.n_heaps, name, name);
}

PolicyClient *config_get_client(Config *config, const char *unit) {
        return GET_NAMED(config->policy.clients, config->policy.n_clients, unit, unit);
}

Role *config_get_role(Config *config, const char *name) {
        static char *const no_heaps[] = { NULL };
        Role **end = &config->roles;

        for (; *end; end = &(*end)->next)
                if (streq((*end)->name, name))
                        return *end;

        _cleanup_(role_freep) Role *role = calloc(1, sizeof(*role));
        if (!role)
                return NULL;

        role->name = strdup(name);
        role->heaps = strv_copy(no_heaps);
        if (!role->name || !role->heaps)
                return NULL;

        *end = TAKE_PTR(role);
        return *end;
}

static int add_role(Config *config, const char *name, const char *const *heaps, bool other_regions) {
        Role *role = config_get_role(config, name);
        if (!role)
                return -ENOMEM;

        strv_free(role->heaps);
        role->heaps = strv_copy((char *const *) heaps);
        role->other_regions = other_regions;
        return role->heaps ? 0 : -ENOMEM;
}

Config *config_new(void) {
        _cleanup_(config_freep) Config *config = malloc(sizeof(*config));
        if (!config)
                return NULL;

        *config = (Config) {
                .idle_timeout_usec = 30 * USEC_PER_SEC,
                .allocation_timeout_usec = 30 * USEC_PER_SEC,
                .connections_max = 512,
                .connections_per_user_max = 64,
                .policy = {
                        .enforce = true,
                        .client_bytes_max = { POLICY_AMOUNT_PERCENT, 2500 },
                        .client_buffers_max = { POLICY_AMOUNT_NUMBER, 1024 },
                        .user_bytes_max = { POLICY_AMOUNT_PERCENT, 5000 },
                        .system_bytes_max = { POLICY_AMOUNT_PERCENT, 7500 },
                        .keep_available = { POLICY_AMOUNT_PERCENT, 500 },
                },
        };

        static const char *const system_heaps[] = { "system", "udmabuf", NULL };
        static const char *const contiguous_heaps[] = {
                "default_cma_region", "linux,cma", "reserved", "default-pool", NULL,
        };
        static const char *const protected_heaps[] = { "protected*", "restricted*", NULL };

        if (add_role(config, "system", system_heaps, false) < 0 ||
            add_role(config, "contiguous", contiguous_heaps, true) < 0 ||
            add_role(config, "protected", protected_heaps, false) < 0)
                return NULL;

        return TAKE_PTR(config);
}

/* Reads one file into the Config. Returns 1, or 0 when there is no such file, or -ENOMEM. */
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
        const char *name; /* within path */
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

/* Adds the files of one directory whose names are not there yet: directories come in the order of their weight, so that is
 * how a file masks another. */
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
        for (struct dirent *entry; r >= 0 && (entry = readdir(dir));) {
                size_t length = strlen(entry->d_name);
                bool known = false;

                if (entry->d_name[0] == '.' || length <= strlen(".conf") || !streq(entry->d_name + length - strlen(".conf"), ".conf"))
                        continue;

                for (size_t i = 0; i < d->n && !known; i++)
                        known = streq(d->files[i].name, entry->d_name);
                if (known)
                        continue;

                DropIn *larger = realloc(d->files, (d->n + 1) * sizeof(*larger));
                if (larger)
                        d->files = larger;

                char *file = NULL;
                if (!larger || asprintf(&file, "%s/%s", path, entry->d_name) < 0)
                        r = -ENOMEM;
                else
                        d->files[d->n++] = (DropIn) { file + strlen(path) + 1, file };
        }

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
