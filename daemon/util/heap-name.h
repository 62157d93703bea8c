/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <stdbool.h>

/* The most characters of a heap's or a role's name, without the NUL. The kernel only demands that a device node can
 * have it. */
#define HEAP_NAME_MAX 64U

/* True for 1 to HEAP_NAME_MAX of A-Z a-z 0-9 . _ , @ + -, not starting
 * with a dot. The same holds for the names of roles. */
bool heap_name_is_valid(const char *name);
