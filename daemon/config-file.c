/* SPDX-License-Identifier: GPL-2.0-only */

/* libeconf reads the files, but is trusting: a line of junk becomes a key or a part of the value before it, and of two equal
 * keys the first wins. So the text is read once and every line judged here; libeconf then gets, through a memfd, the lines
 * that passed, and blank ones in the place of the others, and takes comments and quotes off the values. */

#include <fcntl.h>
#include <libeconf.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "config-file.h"
#include "fd-util.h"

#define FILE_SIZE_MAX (256U * 1024U)
#define LINE_SIZE_MAX 4096U

static const char blanks[] = " \t";
static const char key_characters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

static void econf_filep(econf_file **file) {
        if (*file)
                econf_freeFile(*file);
}

ConfigFile *config_file_free(ConfigFile *file) {
        if (!file)
                return NULL;

        for (size_t i = 0; i < file->n_assignments; i++) {
                free(file->assignments[i].section);
                free(file->assignments[i].key);
                free(file->assignments[i].value);
        }
        free(file->assignments);
        free(file);
        return NULL;
}

void config_report(ConfigReporter *reporter, unsigned line, const char *format, ...) {
        char message[512];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);

        reporter->n_problems++;
        if (reporter->on_problem)
                reporter->on_problem(reporter->path, line, message, reporter->userdata);
}

/* Takes ownership of nothing; the value is filled in later. */
static int add_assignment(ConfigFile *file, const char *section, const char *key, size_t key_length, unsigned line) {
        ConfigAssignment *larger = realloc(file->assignments, (file->n_assignments + 1) * sizeof(*larger));
        if (!larger)
                return -ENOMEM;
        file->assignments = larger;

        ConfigAssignment *a = &file->assignments[file->n_assignments];
        *a = (ConfigAssignment) {
                .section = strdup(section),
                .key = strndup(key, key_length),
                .line = line,
        };
        file->n_assignments++;

        return a->section && a->key ? 0 : -ENOMEM;
}

/* What stands between '[' and ']', or NULL for a line that is not of that form. The brackets may be followed by a comment. */
static char *parse_section(const char *line) {
        const char *end = line + 1 + strcspn(line + 1, "[]#;\"'\\=");
        if (*end != ']' || end == line + 1)
                return NULL;

        const char *rest = end + 1 + strspn(end + 1, blanks);
        if (*rest != 0 && *rest != '#' && *rest != ';')
                return NULL;

        char *section = strndup(line + 1, end - line - 1), *to = section;
        if (!section)
                return NULL;

        /* One blank is as good as many, here and where a section is looked for again. */
        for (const char *from = section; *from; from++)
                if (!strchr(blanks, *from))
                        *to++ = *from;
                else if (to == section || to[-1] != ' ')
                        *to++ = ' ';
        *to = 0;
        return section;
}

/* Judges one line and appends what libeconf shall see of it to `out`. *section: what the line belongs to, NULL after a
 * section's line that was no good: what follows is then passed over, and the one report is enough. */
static int judge_line(
                ConfigReporter *reporter, ConfigFile *file, const char *line, unsigned n_line, char **section, FILE *out) {

        line += strspn(line, blanks);

        if (*line == 0 || *line == '#' || *line == ';') {
                (void) fputc('\n', out);
                return 0;
        }

        if (*line == '[') {
                free(*section);
                *section = parse_section(line);
                if (!*section) {
                        config_report(reporter, n_line, "this is not the beginning of a section, and what follows is ignored");
                        (void) fputc('\n', out);
                        return 0;
                }

                (void) fprintf(out, "[%s]\n", *section);
                return add_assignment(file, *section, "", 0, n_line);
        }

        size_t key_length = strspn(line, key_characters);
        const char *equals = line + key_length + strspn(line + key_length, blanks);

        if (key_length == 0 || *equals != '=')
                config_report(reporter, n_line, "this is neither a section nor an assignment");
        else if (*section && **section == 0)
                config_report(reporter, n_line, "this assignment is in no section");
        else if (*section) {
                int r = add_assignment(file, *section, line, key_length, n_line);
                if (r < 0)
                        return r;

                (void) fputs(line, out);
        }

        (void) fputc('\n', out);
        return 0;
}

static bool line_is_clean(const char *line, size_t size) {
        for (size_t i = 0; i < size; i++)
                if (((unsigned char) line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
                        return false;

        return size <= LINE_SIZE_MAX;
}

/* Cuts the text, of which a NUL follows the end, into lines and judges each. */
static int judge_text(ConfigReporter *reporter, ConfigFile *file, char *text, size_t size, FILE *out) {
        _cleanup_free_ char *section = strdup("");
        unsigned n_line = 0;

        if (!section)
                return -ENOMEM;

        for (char *line = text, *next; line < text + size; line = next) {
                char *end = memchr(line, '\n', text + size - line);
                if (!end)
                        end = text + size;
                next = end + 1;
                *end = 0;
                n_line++;

                if (!line_is_clean(line, end - line)) {
                        config_report(reporter, n_line, "this line is too long or has control characters");
                        (void) fputc('\n', out);
                        continue;
                }

                int r = judge_line(reporter, file, line, n_line, &section, out);
                if (r < 0)
                        return r;
        }

        return 0;
}

/* A handful of keys, mostly; a file has at most 256 KiB. Sorting makes the worst of them cheap. */
static int compare_assignments(const void *a, const void *b) {
        const ConfigAssignment *x = a, *y = b;
        int c = strcmp(x->section, y->section);

        if (c == 0)
                c = strcmp(x->key, y->key);
        return c != 0 ? c : x->line < y->line ? -1 : x->line > y->line;
}

static int compare_lines(const void *a, const void *b) {
        const ConfigAssignment *x = a, *y = b;

        return x->line < y->line ? -1 : x->line > y->line;
}

/* Fills in the values; drops what is there twice. */
static int read_values(ConfigReporter *reporter, ConfigFile *file, econf_file *parsed) {
        ConfigAssignment *a = file->assignments;
        size_t n = file->n_assignments, n_kept = 0;

        if (n > 0)
                qsort(a, n, sizeof(*a), compare_assignments);

        for (size_t i = 0, end; i < n; i = end) {
                bool is_section = a[i].key[0] == 0;

                for (end = i + 1; !is_section && end < n && streq(a[i].section, a[end].section) && streq(a[i].key, a[end].key); end++)
                        config_report(
                                        reporter,
                                        a[end].line,
                                        "%s= was given before in this section, on line %u; none of its values is taken",
                                        a[end].key,
                                        a[i].line);

                const char *why = NULL;
                char *value = NULL;

                if (end == i + 1) {
                        econf_err e = is_section ? ECONF_SUCCESS
                                                 : econf_getStringValue(parsed, a[i].section, a[i].key, &value);
                        if (e != ECONF_SUCCESS)
                                why = econf_errString(e);
                        else if (!value) {
                                value = strdup("");
                                if (!value)
                                        return -ENOMEM;
                        }
                }
                if (why)
                        config_report(reporter, a[i].line, "%s=: %s", a[i].key, why);

                if (value) {
                        a[i].value = value;
                        ConfigAssignment kept = a[i];
                        a[i] = a[n_kept];
                        a[n_kept++] = kept;
                }
        }

        while (file->n_assignments > n_kept) {
                ConfigAssignment *dropped = &a[--file->n_assignments];

                free(dropped->section);
                free(dropped->key);
                free(dropped->value);
        }

        if (n_kept > 0)
                qsort(a, n_kept, sizeof(*a), compare_lines);
        return 0;
}

static int parse_text(ConfigReporter *reporter, ConfigFile *file, char *text, size_t size) {
        _cleanup_close_ int fd = memfd_create("dmaheapd-config", MFD_CLOEXEC);
        if (fd < 0)
                return -errno;

        _cleanup_free_ char *clean = NULL;
        size_t clean_size = 0;
        FILE *out = open_memstream(&clean, &clean_size);
        if (!out)
                return -ENOMEM;

        int r = judge_text(reporter, file, text, size, out);
        if (fclose(out) != 0 && r >= 0)
                r = -ENOMEM;
        if (r < 0)
                return r;
        if (file->n_assignments == 0)
                return 0;

        for (size_t done = 0; done < clean_size;) {
                ssize_t n = write(fd, clean + done, clean_size - done);
                if (n < 0)
                        return -errno;
                done += n;
        }

        char path[64];
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

        _cleanup_(econf_filep) econf_file *parsed = NULL;
        econf_err e = econf_readFile(&parsed, path, "=", "#;");
        if (e == ECONF_NOMEM)
                return -ENOMEM;
        if (e != ECONF_SUCCESS) {
                char *where = NULL;
                uint64_t line = 0;

                econf_errLocation(&where, &line);
                free(where);
                config_report(reporter, line, "%s, and the whole file is ignored", econf_errString(e));
                for (size_t i = 0; i < file->n_assignments; i++) {
                        free(file->assignments[i].section);
                        free(file->assignments[i].key);
                }
                file->n_assignments = 0;
                return 0;
        }

        return read_values(reporter, file, parsed);
}

int config_file_read(ConfigReporter *reporter, ConfigFile **ret) {
        _cleanup_(config_file_freep) ConfigFile *file = calloc(1, sizeof(*file));
        if (!file)
                return -ENOMEM;

        /* A FIFO must not hold us up. */
        _cleanup_close_ int fd = open(reporter->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 && errno == ENOENT)
                return -ENOENT;

        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0) {
                config_report(reporter, 0, "cannot be opened: %s", strerror(errno));
                *ret = TAKE_PTR(file);
                return 0;
        }

        struct stat null;
        if (S_ISCHR(st.st_mode) && stat("/dev/null", &null) >= 0 && st.st_rdev == null.st_rdev) {
                *ret = TAKE_PTR(file);
                return 0;
        }

        if (!S_ISREG(st.st_mode)) {
                config_report(reporter, 0, "is not a regular file");
                *ret = TAKE_PTR(file);
                return 0;
        }

        _cleanup_free_ char *text = NULL;
        char self[64];
        (void) snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
        ssize_t size = read_file_at(AT_FDCWD, self, FILE_SIZE_MAX, &text);
        if (size == -ENOMEM)
                return -ENOMEM;
        if (size < 0)
                config_report(reporter, 0, "cannot be read: %s", strerror(-size));
        else {
                int r = parse_text(reporter, file, text, size);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(file);
        return 0;
}
