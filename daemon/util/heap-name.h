/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <stdbool.h>

/* The most characters of a heap's name, or of a role's; the kernel itself only asks for a name that a node can bear. */
#define HEAP_NAME_MAX 64U

/* True for 1 to HEAP_NAME_MAX of A-Z a-z 0-9 . _ , @ + -, not starting with a dot. Roles obey the same rule. */
bool heap_name_is_valid(const char *name);
