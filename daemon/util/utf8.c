/* SPDX-License-Identifier: GPL-2.0-only */

/* Makes UTF-8 of any bytes. The invariant: the result is valid UTF-8, and valid text is not changed. */

#include <stdio.h>

#include "util/macro.h"
#include "util/utf8.h"

static bool is_continuation(char c) {
        return ((uint8_t) c & 0xc0) == 0x80;
}

/* The length in bytes of the character that begins at s; 0 if none does. Overlong forms, surrogates and numbers above
 * U+10FFFF are not characters. */
static size_t character_length(const char *s) {
        uint8_t first = s[0], second = s[0] ? s[1] : 0;
        size_t n;

        if (first < 0x80)
                return 1;
        if (first >= 0xc2 && first < 0xe0)
                n = 2;
        else if (first >= 0xe0 && first < 0xf0)
                n = 3;
        else if (first >= 0xf0 && first < 0xf5)
                n = 4;
        else
                return 0;

        for (size_t i = 1; i < n; i++)
                if (!is_continuation(s[i]))
                        return 0;

        if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second >= 0xa0) || (first == 0xf0 && second < 0x90) ||
                        (first == 0xf4 && second >= 0x90))
                return 0;
        return n;
}

char *utf8_escape_invalid(const char *s) {
        char *escaped = malloc(strlen(s) * strlen("\\xNN") + 1), *p = escaped;

        if (!escaped)
                return NULL;

        while (*s) {
                size_t n = character_length(s);

                if (n > 0) {
                        p = mempcpy(p, s, n);
                        s += n;
                } else
                        p += sprintf(p, "\\x%02x", (uint8_t) *s++);
        }
        *p = 0;
        return escaped;
}

const char *utf8_next_character(const char *s) {
        while (is_continuation(*s))
                s++;
        return s;
}
