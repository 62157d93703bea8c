/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "heap-name.h"
#include "macro.h"

/* Loads the kernel module that somebody declared for a heap, and lists what is declared. Both happen in child processes:
 * libkmod reads files, and a module's init may take seconds. Rests on kmod(8)'s index files and modprobe.d(5). */
typedef struct ModuleLoader ModuleLoader;

/* Room for a name or a text with its NUL. MODULE_NAME_LEN of the kernel is 56 on 64-bit machines. A heap's name has room for
 * more than HEAP_NAME_MAX, so that one that is too long is seen to be, and is not taken for the heap of a shorter name. */
#define MODULE_NAME_LENGTH 64U
#define MODULE_HEAP_LENGTH (HEAP_NAME_MAX + 8U)
#define MODULE_REASON_LENGTH 256U

typedef enum ModuleOutcome {
        MODULE_LOADED,       /* every module that the alias names is in the kernel */
        MODULE_NOT_DECLARED, /* no alias "dma-heap:NAME" anywhere */
        MODULE_FAILED,       /* see reason */
} ModuleOutcome;

typedef struct ModuleResult {
        ModuleOutcome outcome;
        bool inserted;                     /* MODULE_LOADED: it was not there before; told to one waiter only */
        char module[MODULE_NAME_LENGTH];   /* empty when unknown */
        char reason[MODULE_REASON_LENGTH]; /* MODULE_FAILED: for an administrator */
} ModuleResult;

/* One module that is declared for a heap. */
typedef struct ModuleDeclaration {
        char heap[MODULE_HEAP_LENGTH]; /* as declared; libkmod turns '-' into '_' in modprobe.d's aliases */
        char module[MODULE_NAME_LENGTH];
        bool installed; /* there is a file for it, or it is in the kernel */
} ModuleDeclaration;

/* Called once for each waiter, from the event loop. */
typedef void (*module_loaded_t)(const ModuleResult *result, void *userdata);

/* Called with what is declared; n is 0 when there is nothing or nothing could be read. */
typedef void (*modules_scanned_t)(const ModuleDeclaration *declarations, size_t n, void *userdata);

/* One who waits for a load; see module_load_cancel(). */
typedef struct ModuleLoad ModuleLoad;

/* on_scanned gets the result of every module_loader_scan(). */
int module_loader_new(sd_event *event, modules_scanned_t on_scanned, void *userdata, ModuleLoader **ret);

/* Kills the children that are still at work and calls nobody. */
ModuleLoader *module_loader_free(ModuleLoader *loader);
DEFINE_CLEANUP(ModuleLoader, module_loader_free);

/* Begins a load for the alias "dma-heap:HEAP", or joins one that is under way.
 *
 * heap: a valid heap name. module: the module expected behind it, or NULL; loads that expect the same module come one after
 * the other. Returns 0, -ENOMEM. */
int module_loader_load(ModuleLoader *loader, const char *heap, const char *module,
                       module_loaded_t on_loaded, void *userdata, ModuleLoad **ret);

/* Stops waiting; the load itself goes on. Accepts NULL, returns NULL. */
ModuleLoad *module_load_cancel(ModuleLoad *load);

/* Begins a scan, if none is under way. Returns 0, or -errno. */
int module_loader_scan(ModuleLoader *loader);

/* Whether a child is at work. */
bool module_loader_busy(const ModuleLoader *loader);
