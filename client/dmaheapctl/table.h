/* SPDX-License-Identifier: MIT */
/* A table with aligned columns, and a header that is underlined on a terminal. */
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

/* Makes a table with n_columns headings. A heading that begins with '>' aligns its column to the right. Returns NULL if
 * memory is short; the functions below accept NULL and do nothing. The caller frees it with table_free(). */
Table *table_new(size_t n_columns, const char *const headings[]);

/* Adds the next cell, row by row, with a copy of text. Bytes that are not printable, such as control characters, become
 * '?'. NULL and "" become a dim '-'. */
void table_add(Table *t, CellStyle style, const char *text);

/* Adds a cell with the text of an amount that is used. Its style is a warning from 75 % of the limit on, and bad from
 * 95 %. limit: UINT64_MAX if there is none. */
void table_add_used(Table *t, const char *text, uint64_t used, uint64_t limit);

/* Prints the table, without blanks at the ends of lines. max_lines: how many lines at the most, with the header; 0 for
 * all. Prints nothing if memory was short for a cell. */
void table_print(const Table *t, FILE *f, bool colour, size_t max_lines);

/* Frees a table. Accepts NULL. Returns NULL. */
Table *table_free(Table *t);

static inline void table_freep(Table **t) {
        *t = table_free(*t);
}

/* Returns whether standard output takes colours: it is a terminal, TERM is set and not "dumb", NO_COLOR is unset or
 * empty. */
bool colours_wanted(void);
