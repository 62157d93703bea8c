/* SPDX-License-Identifier: MIT */
/* A table with aligned columns, its header underlined on a terminal. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Table Table;

typedef enum CellStyle {
        CELL_PLAIN,
        CELL_DIM,
        CELL_GOOD,
        CELL_WARNING,
        CELL_BAD,
} CellStyle;

/* A table of n_columns with these headings. One that begins with '>' is aligned to the right. Returns NULL if there is no
 * memory; all functions below accept that and do nothing. */
Table *table_new(size_t n_columns, const char *const headings[]);

/* Adds the next cell, row by row. What could not be shown, control characters above all, is replaced by '?'. NULL and ""
 * are shown as a dim '-'. */
void table_add(Table *t, CellStyle style, const char *text);

/* Adds a cell that says how much is used, in the colour of how near that is to the limit (UINT64_MAX for none). */
void table_add_used(Table *t, const char *text, uint64_t used, uint64_t limit);

/* Prints it, without spaces at line ends; max_lines (header included) cuts it off, 0 for all. */
void table_print(const Table *t, FILE *f, bool colour, size_t max_lines);

Table *table_free(Table *t);

static inline void table_freep(Table **t) {
        *t = table_free(*t);
}

/* Whether to colour what goes to standard output: a terminal, TERM not "dumb", NO_COLOR not set. */
bool colours_wanted(void);
