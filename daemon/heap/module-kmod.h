/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "util/heap-name.h"
#include "util/macro.h"

/* Room for a name or a text with its NUL. MODULE_NAME_LEN of the kernel is 56 on 64-bit machines. A heap's name has
 * room for more than HEAP_NAME_MAX, so that one that is too long is seen to be, and is not taken for the heap of a
 * shorter name. */
#define MODULE_NAME_LENGTH 64U
#define MODULE_HEAP_LENGTH (HEAP_NAME_MAX + 8U)
#define MODULE_REASON_LENGTH 256U

/* The most declarations that one scan reports. */
#define MODULE_DECLARATIONS_MAX 256U

typedef enum ModuleOutcome {
        MODULE_LOADED,       /* every module that the alias names is in the kernel */
        MODULE_NOT_DECLARED, /* no module has the alias "dma-heap:NAME" */
        MODULE_FAILED,       /* see reason */
} ModuleOutcome;

/* How a load went. It crosses from one process to another as it is. */
typedef struct ModuleResult {
        ModuleOutcome outcome;
        bool inserted;                     /* MODULE_LOADED: this load put a module into the kernel */
        char module[MODULE_NAME_LENGTH];   /* empty when unknown */
        char reason[MODULE_REASON_LENGTH]; /* MODULE_FAILED: for an administrator */
} ModuleResult;

/* One module that is declared for a heap. It crosses from one process to another as it is. */
typedef struct ModuleDeclaration {
        char heap[MODULE_HEAP_LENGTH]; /* as declared; libkmod turns '-' into '_' in modprobe.d's aliases */
        char module[MODULE_NAME_LENGTH];
        bool installed; /* there is a file for it, or it is in the kernel */
} ModuleDeclaration;

/* Loads every module that the alias "dma-heap:HEAP" names. Blocks, perhaps for seconds: call it in a child process.
 * heap: a valid heap name. */
void module_load_now(const char *heap, ModuleResult *ret);

/* Reads what is declared into an array with room for
 * MODULE_DECLARATIONS_MAX; the rest is left out. Blocks. Returns how many. */
size_t module_scan_now(ModuleDeclaration *declarations);
