/* SPDX-License-Identifier: GPL-2.0-only */

/* The parser of one configuration file. It judges each line by itself: a line becomes an assignment, or means
 * nothing (blank, comment), or is reported. No line is dropped without a report, and none changes the meaning of
 * another, except that a line which should have begun a section takes the lines of that section with it. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "config/config-file.h"
#include "util/fd-util.h"

#define FILE_SIZE_MAX (256U * 1024U)
#define LINE_SIZE_MAX 4096U

static const char blanks[] = " \t";
static const char key_characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

typedef struct Parser {
        ConfigReporter *reporter;
        ConfigFile *file;
        char *section;  /* what the line belongs to; borrowed from the line that began it. NULL: no section */
        bool pass_over; /* there is no section since the line that should have begun it was reported */
        unsigned line;  /* counted from 1 */
} Parser;

static bool is_section(const ConfigAssignment *assignment) {
        return assignment->key[0] == 0;
}

static void assignment_done(ConfigAssignment *assignment) {
        if (is_section(assignment))
                free(assignment->section);
        free(assignment->key);
        free(assignment->value);
}

ConfigFile *config_file_free(ConfigFile *file) {
        if (!file)
                return NULL;

        for (size_t i = 0; i < file->n_assignments; i++)
                assignment_done(&file->assignments[i]);
        free(file->assignments);
        free(file);
        return NULL;
}

/* Adds the line that is being read. Takes ownership of `value`, and of `section` if `key` is "", also on failure. */
static int add_assignment(Parser *parser, char *section, const char *key, size_t key_length, char *value) {
        ConfigFile *file = parser->file;
        ConfigAssignment new = {
                .section = section,
                .key = strndup(key, key_length),
                .value = value,
                .line = parser->line,
        };
        ConfigAssignment *larger = realloc(file->assignments, (file->n_assignments + 1) * sizeof(*larger));
        if (larger)
                file->assignments = larger;

        if (!larger || !new.section || !new.key || !new.value) {
                if (key_length == 0)
                        free(new.section);
                free(new.key);
                free(new.value);
                return -ENOMEM;
        }

        file->assignments[file->n_assignments++] = new;
        return 0;
}

/* Whether a line has the form "[section]", perhaps with a comment after it. Between the brackets are n characters. */
static bool is_section_line(const char *line, size_t *ret_n) {
        size_t n = strcspn(line + 1, "[]#;\"'\\=");
        if (n == 0 || line[1 + n] != ']')
                return false;

        const char *rest = line + 1 + n + 1;
        rest += strspn(rest, blanks);
        if (*rest != 0 && *rest != '#' && *rest != ';')
                return false;

        *ret_n = n;
        return true;
}

static int parse_section(Parser *parser, const char *line) {
        size_t n;

        parser->section = NULL;
        parser->pass_over = !is_section_line(line, &n);
        if (parser->pass_over) {
                config_report(parser->reporter,
                                parser->line,
                                "this is not the beginning of a section, and what follows is ignored");
                return 0;
        }

        char *section = strndup(line + 1, n), *to = section;
        if (!section)
                return -ENOMEM;

        /* Several blanks are the same as one, so that a section may be spelled in two ways. */
        for (const char *from = section; *from; from++)
                if (!strchr(blanks, *from))
                        *to++ = *from;
                else if (to == section || to[-1] != ' ')
                        *to++ = ' ';
        *to = 0;

        int r = add_assignment(parser, section, "", 0, strdup(""));
        if (r >= 0)
                parser->section = section;
        return r;
}

/* Where the comment of a value begins, or where the value ends. A quote that has no partner is a character like any; no
 * comment begins between two that are partners. */
static const char *find_comment(const char *s) {
        for (;;) {
                s += strcspn(s, "#;\"");
                if (*s != '"')
                        return s;

                const char *partner = strchr(s + 1, '"');
                s = (partner ?: s) + 1;
        }
}

/* Takes blanks and a comment off, and then the quotes if they are around all of the value. NULL when out of memory. */
static char *parse_value(const char *s) {
        s += strspn(s, blanks);

        const char *end = find_comment(s);
        while (end > s && strchr(blanks, end[-1]))
                end--;

        if (end - s >= 2 && *s == '"' && end[-1] == '"') {
                s++;
                end--;
        }
        return strndup(s, end - s);
}

static int parse_line(Parser *parser, const char *line) {
        line += strspn(line, blanks);

        if (*line == 0 || *line == '#' || *line == ';')
                return 0;
        if (*line == '[')
                return parse_section(parser, line);

        size_t key_length = strspn(line, key_characters);
        const char *equals = line + key_length + strspn(line + key_length, blanks);

        if (key_length == 0 || *equals != '=')
                config_report(parser->reporter, parser->line, "this is neither a section nor an assignment");
        else if (parser->section)
                return add_assignment(parser, parser->section, line, key_length, parse_value(equals + 1));
        else if (!parser->pass_over)
                config_report(parser->reporter, parser->line, "this assignment is in no section");
        return 0;
}

static bool line_is_clean(const char *line, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (((unsigned char) line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
                        return false;

        return size <= LINE_SIZE_MAX;
}

/* Cuts the text into lines and parses each. A NUL follows the text; it may also have some within, which are not
 * clean. */
static int parse_text(Parser *parser, char *text, size_t size) {
        for (char *line = text, *next; line < text + size; line = next) {
                char *end = memchr(line, '\n', text + size - line);
                if (!end)
                        end = text + size;
                next = end + 1;
                *end = 0;
                parser->line++;

                if (!line_is_clean(line, end - line)) {
                        config_report(parser->reporter,
                                        parser->line,
                                        "this line is too long or has control characters");
                        continue;
                }

                int r = parse_line(parser, line);
                if (r < 0)
                        return r;
        }

        return 0;
}

static int compare_lines(const void *a, const void *b) {
        const ConfigAssignment *x = a, *y = b;

        return x->line < y->line ? -1 : x->line > y->line;
}

static int compare_keys(const void *a, const void *b) {
        const ConfigAssignment *x = a, *y = b;

        return strcmp(x->section, y->section) ?: strcmp(x->key, y->key) ?: compare_lines(a, b);
}

static bool same_key(const ConfigAssignment *a, const ConfigAssignment *b) {
        return !is_section(a) && streq(a->section, b->section) && streq(a->key, b->key);
}

/* Reports each key that is there twice, and drops all its assignments. Sorting keeps the time short for a file of many
 * thousand keys. */
static void drop_repeated(ConfigReporter *reporter, ConfigFile *file) {
        ConfigAssignment *a = file->assignments;
        size_t n = file->n_assignments, n_kept = 0;

        if (n == 0)
                return;
        qsort(a, n, sizeof(*a), compare_keys);

        for (size_t i = 0, end; i < n; i = end) {
                for (end = i + 1; end < n && same_key(&a[i], &a[end]); end++)
                        config_report(reporter,
                                        a[end].line,
                                        "%s= was given before in this section, on line %u; none of its values is taken",
                                        a[end].key,
                                        a[i].line);

                if (end == i + 1)
                        a[n_kept++] = a[i];
                else
                        for (size_t j = i; j < end; j++)
                                assignment_done(&a[j]);
        }

        file->n_assignments = n_kept;
        qsort(a, n_kept, sizeof(*a), compare_lines);
}

/* Opens reporter->path. Returns 1, or 0 when there is nothing to read from it: it is /dev/null, or has been
 * reported; or -ENOENT. */
static int open_file(ConfigReporter *reporter, int *ret_fd) {
        /* O_NONBLOCK: opening a FIFO must not wait for a writer. */
        _cleanup_close_ int fd = open(reporter->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 && errno == ENOENT)
                return -ENOENT;

        struct stat st, null;
        if (fd < 0 || fstat(fd, &st) < 0) {
                config_report(reporter, 0, "cannot be opened: %s", strerror(errno));
                return 0;
        }

        if (S_ISCHR(st.st_mode) && stat("/dev/null", &null) >= 0 && st.st_rdev == null.st_rdev)
                return 0;

        if (!S_ISREG(st.st_mode)) {
                config_report(reporter, 0, "is not a regular file");
                return 0;
        }

        *ret_fd = TAKE_FD(fd);
        return 1;
}

int config_file_read(ConfigReporter *reporter, ConfigFile **ret) {
        _cleanup_(config_file_freep) ConfigFile *file = calloc(1, sizeof(*file));
        if (!file)
                return -ENOMEM;

        _cleanup_close_ int fd = -EBADF;
        int r = open_file(reporter, &fd);
        if (r < 0)
                return r;
        if (r == 0) {
                *ret = TAKE_PTR(file);
                return 0;
        }

        _cleanup_free_ char *text = NULL;
        char path[64];
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        ssize_t size = read_file_at(AT_FDCWD, path, FILE_SIZE_MAX, &text);
        if (size == -ENOMEM)
                return -ENOMEM;
        if (size == -E2BIG)
                config_report(reporter, 0, "is larger than %u bytes", FILE_SIZE_MAX);
        else if (size < 0)
                config_report(reporter, 0, "cannot be read: %s", strerror(-size));
        else {
                r = parse_text(&(Parser) { .reporter = reporter, .file = file }, text, size);
                if (r < 0)
                        return r;

                drop_repeated(reporter, file);
        }

        *ret = TAKE_PTR(file);
        return 0;
}
