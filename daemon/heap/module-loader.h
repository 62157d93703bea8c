/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "heap/module-kmod.h"

/* Loads the kernel module that is declared for a heap, and lists what is declared. Both happen in child processes:
 * libkmod reads files, and a module's init may take seconds. Rests on kmod(8)'s index files and modprobe.d(5). */
typedef struct ModuleLoader ModuleLoader;

/* Called once for each load that was not cancelled, from the event loop. Of the loads that one child served, only the
 * first sees `inserted` set. The load is gone when this is called. The loader must not be freed in it. */
typedef void (*module_loaded_t)(const ModuleResult *result, void *userdata);

/* Called from the event loop with what is declared; n is 0 when nothing is, or nothing could be read. */
typedef void (*modules_scanned_t)(const ModuleDeclaration *declarations, size_t n, void *userdata);

/* A load that was asked for and has not been reported; see module_load_cancel(). */
typedef struct ModuleLoad ModuleLoad;

/* on_scanned gets the result of every module_loader_scan(). Returns 0, or -ENOMEM. */
int module_loader_new(sd_event *event, modules_scanned_t on_scanned, void *userdata, ModuleLoader **ret);

/* Kills the children that are still at work, and reports nothing. Accepts NULL, returns NULL. */
ModuleLoader *module_loader_free(ModuleLoader *loader);
DEFINE_CLEANUP(ModuleLoader, module_loader_free);

/* Begins a load for the alias "dma-heap:HEAP", or joins one that is under way.
 *
 * heap: a valid heap name. module: the module that is expected behind it, or NULL if unknown. Loads that expect the
 * same module are done one after the other. Returns 0, -ENOMEM. */
int module_loader_load(ModuleLoader *loader, const char *heap, const char *module, module_loaded_t on_loaded,
                void *userdata, ModuleLoad **ret);

/* Stops waiting; the load itself goes on. Accepts NULL, returns NULL. */
ModuleLoad *module_load_cancel(ModuleLoad *load);

/* Begins a scan, unless one is under way. Returns 0, or -ENOMEM. */
int module_loader_scan(ModuleLoader *loader);

/* True while a load or a scan is under way, or waits for its turn. */
bool module_loader_busy(const ModuleLoader *loader);
