/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* What every unit test starts with: cmocka with the headers it wants before it, and a directory to play in. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* A new empty directory, whose path is the caller's. Fails the test when it cannot be made. */
char *directory_new(void);

/* Removes a directory with everything in it, and frees its path. */
void directory_remove(char *path);

static inline void directory_removep(char **path) {
        directory_remove(*path);
}

/* Writes size bytes to DIRECTORY/NAME, making the directories in NAME as needed. */
void file_write(const char *directory, const char *name, const void *data, size_t size);

/* The same for a text, as printf() makes it. */
void file_print(const char *directory, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));
