/* SPDX-License-Identifier: MIT */
/*
 * A table with aligned columns.
 *
 * Invariant: no text of a cell can move the cursor or change colours, since names come from other users' units.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "table.h"

typedef struct Cell {
        char *text;
        CellStyle style;
        size_t width; /* in columns of the terminal */
} Cell;

struct Table {
        size_t n_columns, n_cells, n_allocated;
        Cell *cells;
        bool *right; /* for each column, whether it is aligned to the right */
        bool failed; /* memory was short: nothing is printed, since a wrong table would mislead */
};

static const char *const style_sequences[] = {
        [CELL_PLAIN] = "",
        [CELL_DIM] = "\033[2m",
        [CELL_GOOD] = "\033[32m",
        [CELL_WARNING] = "\033[33m",
        [CELL_BAD] = "\033[31m",
};

#define HEADER_SEQUENCE "\033[4m"
#define RESET_SEQUENCE "\033[0m"

/* Replaces the bytes of s that are not printable with '?'. Returns its width in columns of the terminal. */
static size_t sanitize(char *s) {
        mbstate_t state = {};
        size_t width = 0;

        while (*s) {
                wchar_t wc;
                size_t n = mbrtowc(&wc, s, strlen(s), &state);
                int w = n == (size_t) -1 || n == (size_t) -2 ? -1 : wcwidth(wc);

                if (w < 0) {
                        size_t skip = n == (size_t) -1 || n == (size_t) -2 || n == 0 ? 1 : n;

                        memset(s, '?', skip);
                        memset(&state, 0, sizeof(state));
                        width += skip;
                        s += skip;
                        continue;
                }
                width += (size_t) w;
                s += n;
        }
        return width;
}

void table_add(Table *t, CellStyle style, const char *text) {
        Cell *cell;

        if (!t || t->failed)
                return;
        if (!text || !*text) {
                text = "-";
                style = CELL_DIM;
        }

        if (t->n_cells == t->n_allocated) {
                size_t n = t->n_allocated ? t->n_allocated * 2 : 64;
                Cell *cells = reallocarray(t->cells, n, sizeof(Cell));

                if (!cells) {
                        t->failed = true;
                        return;
                }
                t->cells = cells;
                t->n_allocated = n;
        }

        cell = t->cells + t->n_cells;
        *cell = (Cell) { .text = strdup(text), .style = style };
        if (!cell->text) {
                t->failed = true;
                return;
        }
        cell->width = sanitize(cell->text);
        t->n_cells++;
}

void table_add_used(Table *t, const char *text, uint64_t used, uint64_t limit) {
        CellStyle style = CELL_PLAIN;

        /* Divide and do not multiply, which would overflow: limits of 2^63 exist. */
        if (limit != UINT64_MAX && used >= limit - limit / 20)
                style = CELL_BAD;
        else if (limit != UINT64_MAX && used >= limit - limit / 4)
                style = CELL_WARNING;
        table_add(t, style, text);
}

Table *table_new(size_t n_columns, const char *const headings[]) {
        Table *t;

        t = calloc(1, sizeof(*t));
        if (!t)
                return NULL;
        t->n_columns = n_columns;
        t->right = calloc(n_columns, sizeof(bool));
        if (!t->right)
                return table_free(t);

        for (size_t i = 0; i < n_columns; i++) {
                t->right[i] = headings[i][0] == '>';
                table_add(t, CELL_PLAIN, headings[i] + t->right[i]);
        }
        return t;
}

static size_t column_width(const Table *t, size_t column) {
        size_t width = 0;

        for (size_t i = column; i < t->n_cells; i += t->n_columns)
                if (t->cells[i].width > width)
                        width = t->cells[i].width;
        return width;
}

static void print_cell(const Cell *cell, bool right, size_t width, bool last, bool header, bool colour, FILE *f) {
        const char *sequence = header ? HEADER_SEQUENCE : style_sequences[cell->style];
        int pad = (int) (width - cell->width);

        if (right)
                (void) fprintf(f, "%*s", pad, "");
        if (colour && *sequence)
                (void) fprintf(f, "%s%s" RESET_SEQUENCE, sequence, cell->text);
        else
                (void) fputs(cell->text, f);
        if (!last)
                (void) fprintf(f, "%*s", right ? 2 : pad + 2, "");
}

void table_print(const Table *t, FILE *f, bool colour, size_t max_lines) {
        size_t n_lines;

        if (!t || t->failed)
                return;

        n_lines = t->n_cells / t->n_columns;
        if (max_lines && n_lines > max_lines)
                n_lines = max_lines;
        for (size_t line = 0; line < n_lines; line++) {
                for (size_t i = 0; i < t->n_columns; i++)
                        print_cell(t->cells + line * t->n_columns + i,
                                        t->right[i],
                                        column_width(t, i),
                                        i + 1 == t->n_columns,
                                        line == 0,
                                        colour,
                                        f);
                (void) fputc('\n', f);
        }
}

Table *table_free(Table *t) {
        if (!t)
                return NULL;

        for (size_t i = 0; i < t->n_cells; i++)
                free(t->cells[i].text);
        free(t->cells);
        free(t->right);
        free(t);
        return NULL;
}

bool colours_wanted(void) {
        const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

        return isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 && !(no_color && *no_color);
}
