/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "module-loader.h"

/* The most declarations one scan reports. */
#define MODULE_DECLARATIONS_MAX 256U

/* Loads what is declared for the heap and says how that went. */
void module_load_now(const char *heap, ModuleResult *ret);

/* Finds what is declared, at most MODULE_DECLARATIONS_MAX. Returns how many. */
size_t module_scan_now(ModuleDeclaration *declarations);
