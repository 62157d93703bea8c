/* SPDX-License-Identifier: GPL-2.0-only */

/* Loads modules and reads what is declared about them by libkmod, in the module loader's children. Everything here may
 * block for long. The invariant: a name is only looked up as the alias "dma-heap:NAME", so no module is loaded that was
 * not declared as a heap's. */

#include <fcntl.h>
#include <libkmod.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "heap/module-kmod.h"
#include "util/fd-util.h"
#include "util/log.h"

#define ALIAS_PREFIX "dma-heap:"
/* The same as libkmod spells it in its index and in its configuration: '-' is '_'. */
#define ALIAS_PREFIX_NORMALIZED "dma_heap:"

static void kmod_unrefp(struct kmod_ctx **ctx) {
        kmod_unref(*ctx);
}
static void kmod_module_unrefp(struct kmod_module **module) {
        kmod_module_unref(*module);
}
static void kmod_module_unref_listp(struct kmod_list **list) {
        kmod_module_unref_list(*list);
}
static void kmod_module_info_free_listp(struct kmod_list **list) {
        kmod_module_info_free_list(*list);
}
static void kmod_config_iter_freep(struct kmod_config_iter **iter) {
        if (*iter)
                kmod_config_iter_free_iter(*iter);
}
static void fclosep(FILE **file) {
        if (*file)
                (void) fclose(*file);
}

_printf_(6, 0) static void on_kmod_log(void *data _unused_, int priority, const char *file _unused_, int line _unused_,
                const char *function _unused_, const char *format, va_list args) {
        char message[512];

        (void) vsnprintf(message, sizeof(message), format, args);
        log_debug("libkmod (priority %d): %s", priority, message);
}

static struct kmod_ctx *context_new(void) {
        struct kmod_ctx *ctx = kmod_new(NULL, NULL);
        if (!ctx)
                return NULL;

        kmod_set_log_fn(ctx, on_kmod_log, NULL);
        (void) kmod_load_resources(ctx);
        return ctx;
}

static bool is_in_kernel(struct kmod_module *module) {
        int state = kmod_module_get_initstate(module);

        return state == KMOD_MODULE_LIVE || state == KMOD_MODULE_BUILTIN;
}

static void set_failed(ModuleResult *result, const char *format, ...) _printf_(2, 3);
static void set_failed(ModuleResult *result, const char *format, ...) {
        va_list ap;

        result->outcome = MODULE_FAILED;
        va_start(ap, format);
        (void) vsnprintf(result->reason, sizeof(result->reason), format, ap);
        va_end(ap);
}

/* Explains an error of init_module(2), a negative errno, to an administrator. */
static const char *explain(int error) {
        switch (error) {
        case -ENODEV:
                return "it found nothing in this machine that it could serve (ENODEV)";
        case -ENOMEM:
                return "the kernel had no memory for it (ENOMEM)";
        case -EEXIST:
        case -EBUSY: /* newer kernels replace the -EEXIST of a module's init by this */
                return "something that it provides exists already, or is in use (EEXIST or EBUSY)";
        case -ENOEXEC:
                return "it was built for another kernel (ENOEXEC)";
        case -ENOENT:
                return "its file, or a symbol that it needs, is missing (ENOENT)";
        case -EKEYREJECTED:
        case -ENOKEY:
        case -EBADMSG:
                return "its signature is missing or not trusted, and this kernel enforces signatures";
        case -EPERM:
                return "the kernel allows no loading of modules (kernel.modules_disabled, lockdown, or a missing "
                       "privilege)";
        default:
                return strerror(-error);
        }
}

/* By default libkmod runs the install commands of modprobe.d in a shell. The daemon runs none. */
static int on_install_command(struct kmod_module *module, const char *command _unused_, void *data) {
        ModuleResult *result = data;

        set_failed(result,
                        "module %s is not loaded, since modprobe.d has an install command for it",
                        kmod_module_get_name(module));
        return -ECANCELED;
}

/* Puts a module into the kernel, with those that it depends on. Returns true if it is in the kernel now; else *result
 * says why not. */
static bool insert(struct kmod_module *module, ModuleResult *result) {
        const char *name = kmod_module_get_name(module);

        (void) snprintf(result->module, sizeof(result->module), "%s", name);

        if (is_in_kernel(module))
                return true;

        if (!kmod_module_get_path(module)) {
                struct utsname u;

                (void) uname(&u);
                set_failed(result, "module %s is not installed for kernel %s", name, u.release);
                return false;
        }

        int r = kmod_module_probe_insert_module(
                        module, KMOD_PROBE_APPLY_BLACKLIST, NULL, on_install_command, result, NULL);
        if (r == KMOD_PROBE_APPLY_BLACKLIST)
                set_failed(result, "module %s is forbidden by a blacklist line of modprobe.d", name);
        else if (r < 0 && result->outcome != MODULE_FAILED)
                set_failed(result, "module %s cannot be loaded: %s", name, explain(r));
        else if (r >= 0 && !is_in_kernel(module))
                /* libkmod takes -EEXIST for "loaded already", but a module's init may return it for another reason. */
                set_failed(result, "module %s cannot be loaded: %s", name, explain(-EEXIST));
        else
                result->inserted = true;

        return result->outcome != MODULE_FAILED;
}

void module_load_now(const char *heap, ModuleResult *ret) {
        _cleanup_(kmod_unrefp) struct kmod_ctx *ctx = context_new();
        _cleanup_(kmod_module_unref_listp) struct kmod_list *list = NULL;
        char alias[sizeof(ALIAS_PREFIX) + HEAP_NAME_MAX];

        *ret = (ModuleResult) { .outcome = MODULE_LOADED };

        if (!ctx) {
                set_failed(ret, "libkmod cannot be used: %s", strerror(errno));
                return;
        }

        (void) snprintf(alias, sizeof(alias), ALIAS_PREFIX "%s", heap);

        int r = kmod_module_new_from_lookup(ctx, alias, &list);
        if (r < 0) {
                set_failed(ret, "the module aliases cannot be read: %s", strerror(-r));
                return;
        }
        if (!list) {
                ret->outcome = MODULE_NOT_DECLARED;
                return;
        }

        struct kmod_list *item;
        kmod_list_foreach(item, list) {
                _cleanup_(kmod_module_unrefp) struct kmod_module *module = kmod_module_get_module(item);

                if (!insert(module, ret))
                        return;
        }
}

static void add_declaration(ModuleDeclaration *declarations, size_t *n, const char *heap, struct kmod_module *module) {
        if (*n >= MODULE_DECLARATIONS_MAX || strlen(heap) >= sizeof(declarations->heap))
                return;

        ModuleDeclaration *declaration = &declarations[*n];
        *declaration = (ModuleDeclaration) {
                .installed = kmod_module_get_path(module) || is_in_kernel(module),
        };
        (void) snprintf(declaration->heap, sizeof(declaration->heap), "%s", heap);
        (void) snprintf(declaration->module, sizeof(declaration->module), "%s", kmod_module_get_name(module));
        (*n)++;
}

/* Reads the aliases in modprobe.d, which declare modules that have no such alias of their own. */
static void scan_configuration(struct kmod_ctx *ctx, ModuleDeclaration *declarations, size_t *n) {
        _cleanup_(kmod_config_iter_freep) struct kmod_config_iter *iter = kmod_config_get_aliases(ctx);

        while (iter && kmod_config_iter_next(iter)) {
                const char *alias = kmod_config_iter_get_key(iter);
                _cleanup_(kmod_module_unrefp) struct kmod_module *module = NULL;

                if (startswith(alias, ALIAS_PREFIX_NORMALIZED) &&
                                kmod_module_new_from_name(ctx, kmod_config_iter_get_value(iter), &module) >= 0)
                        add_declaration(declarations, n, alias + strlen(ALIAS_PREFIX_NORMALIZED), module);
        }
}

/* Reads a module's own aliases, as its author spelled them. */
static void scan_module(struct kmod_ctx *ctx, const char *name, ModuleDeclaration *declarations, size_t *n) {
        _cleanup_(kmod_module_unrefp) struct kmod_module *module = NULL;
        _cleanup_(kmod_module_info_free_listp) struct kmod_list *list = NULL;

        if (kmod_module_new_from_name(ctx, name, &module) < 0 || kmod_module_get_info(module, &list) < 0)
                return;

        struct kmod_list *item;
        kmod_list_foreach(item, list) {
                const char *value = kmod_module_info_get_value(item);

                if (streq(kmod_module_info_get_key(item), "alias") && startswith(value, ALIAS_PREFIX))
                        add_declaration(declarations, n, value + strlen(ALIAS_PREFIX), module);
        }
}

/* Finds the modules that have such aliases. Only the index knows them, and libkmod prints it as text. */
static void scan_index(struct kmod_ctx *ctx, ModuleDeclaration *declarations, size_t *n) {
        _cleanup_close_ int fd = memfd_create("module-aliases", MFD_CLOEXEC);
        if (fd < 0 || kmod_dump_index(ctx, KMOD_INDEX_MODULES_ALIAS, fd) < 0 || lseek(fd, 0, SEEK_SET) < 0)
                return;

        _cleanup_(fclosep) FILE *text = fdopen(fd, "re");
        if (!text)
                return;
        (void) TAKE_FD(fd);

        _cleanup_free_ char *line = NULL;
        char previous[MODULE_NAME_LENGTH] = "";
        size_t room = 0;

        while (getline(&line, &room, text) >= 0) {
                char *save = NULL, *keyword = strtok_r(line, " \n", &save);
                char *alias = keyword ? strtok_r(NULL, " \n", &save) : NULL;
                char *module = alias ? strtok_r(NULL, " \n", &save) : NULL;

                if (!module || !startswith(alias, ALIAS_PREFIX_NORMALIZED) || streq(module, previous))
                        continue;

                (void) snprintf(previous, sizeof(previous), "%s", module);
                scan_module(ctx, module, declarations, n);
        }
}

size_t module_scan_now(ModuleDeclaration *declarations) {
        _cleanup_(kmod_unrefp) struct kmod_ctx *ctx = context_new();
        size_t n = 0;

        if (!ctx)
                return 0;

        scan_index(ctx, declarations, &n);
        scan_configuration(ctx, declarations, &n);
        return n;
}
