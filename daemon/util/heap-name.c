/* SPDX-License-Identifier: GPL-2.0-only */

#include <string.h>

#include "heap-name.h"

bool heap_name_is_valid(const char *name) {
        static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._,@+-";
        size_t n = strlen(name);

        return n >= 1 && n <= HEAP_NAME_MAX && name[0] != '.' && strspn(name, allowed) == n;
}
