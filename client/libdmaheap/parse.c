/* SPDX-License-Identifier: MIT */
/*
 * Reads fields of JSON objects that the daemon sent.
 *
 * Invariant: nothing that is returned points into the JSON object.
 */

#include "parse.h"

static sd_json_variant *field(sd_json_variant *v, const char *name) {
        sd_json_variant *f = sd_json_variant_by_key(v, name);

        return f && !sd_json_variant_is_null(f) ? f : NULL;
}

int field_string(Arena *a, sd_json_variant *v, const char *name, FieldFlags flags, const char **ret) {
        sd_json_variant *f = field(v, name);
        char *copy;

        if (!f)
                return flags & FIELD_OPTIONAL ? 0 : -EPROTO;
        if (!sd_json_variant_is_string(f))
                return -EPROTO;

        copy = arena_strdup(a, sd_json_variant_string(f));
        if (!copy)
                return -ENOMEM;

        *ret = copy;
        return 0;
}

int field_u64(sd_json_variant *v, const char *name, FieldFlags flags, uint64_t *ret) {
        sd_json_variant *f = field(v, name);

        if (!f)
                return flags & FIELD_OPTIONAL ? 0 : -EPROTO;
        if (!sd_json_variant_is_unsigned(f))
                return -EPROTO;

        *ret = sd_json_variant_unsigned(f);
        return 0;
}

int field_uid(sd_json_variant *v, const char *name, uid_t *ret) {
        uint64_t u = 0;
        int r;

        r = field_u64(v, name, 0, &u);
        if (r < 0)
                return r;
        if (u > UINT32_MAX)
                return -EPROTO;

        *ret = (uid_t) u;
        return 0;
}

int field_enum(sd_json_variant *v, const char *name, const char *const *table, size_t n_table) {
        sd_json_variant *f = field(v, name);

        if (!sd_json_variant_is_string(f))
                return 0;
        for (size_t i = 1; i < n_table; i++)
                if (streq_ptr(sd_json_variant_string(f), table[i]))
                        return (int) i;
        return 0;
}

/* Finds a field that is an array, and allocates a pointer for each element and a NULL after the last. */
static int field_pointers(Arena *a, sd_json_variant *v, const char *name, sd_json_variant **ret_field,
                const void ***ret_pointers) {
        sd_json_variant *f = field(v, name);
        const void **pointers;

        if (!sd_json_variant_is_array(f))
                return -EPROTO;

        pointers = arena_alloc(a, sd_json_variant_elements(f) + 1, sizeof(*pointers));
        if (!pointers)
                return -ENOMEM;

        *ret_field = f;
        *ret_pointers = pointers;
        return 0;
}

int field_strv(Arena *a, sd_json_variant *v, const char *name, const char *const **ret) {
        sd_json_variant *f = NULL;
        const void **strings = NULL;
        int r;

        r = field_pointers(a, v, name, &f, &strings);
        if (r < 0)
                return r;

        for (size_t i = 0; i < sd_json_variant_elements(f); i++) {
                sd_json_variant *e = sd_json_variant_by_index(f, i);

                if (!sd_json_variant_is_string(e))
                        return -EPROTO;
                strings[i] = arena_strdup(a, sd_json_variant_string(e));
                if (!strings[i])
                        return -ENOMEM;
        }

        *ret = (const char *const *) strings;
        return 0;
}

int field_array(Arena *a, sd_json_variant *v, const char *name, size_t size, ParseElement parse,
                const void *const **ret, size_t *ret_n) {
        sd_json_variant *f = NULL;
        const void **elements = NULL;
        int r;

        r = field_pointers(a, v, name, &f, &elements);
        if (r < 0)
                return r;

        for (size_t i = 0; i < sd_json_variant_elements(f); i++) {
                sd_json_variant *e = sd_json_variant_by_index(f, i);
                void *element;

                if (!sd_json_variant_is_object(e))
                        return -EPROTO;
                element = arena_alloc(a, 1, size);
                if (!element)
                        return -ENOMEM;
                r = parse(a, e, element);
                if (r < 0)
                        return r;
                elements[i] = element;
        }

        *ret = elements;
        *ret_n = sd_json_variant_elements(f);
        return 0;
}
