/* SPDX-License-Identifier: MIT */
/*
 * Reads fields of JSON objects that the daemon sent.
 *
 * Each function returns 0; -EPROTO if the field is missing, or is not what the interface says; -ENOMEM. On failure *ret
 * is untouched. Memory belongs to the arena. Fields that the library does not know are never looked at, so that a newer
 * daemon can send more.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include <systemd/sd-json.h>

#include "arena.h"

/* FIELD_OPTIONAL: the field may be missing or null, and *ret stays as it is then. */
typedef enum FieldFlags {
        FIELD_OPTIONAL = 1 << 0,
} FieldFlags;

/* Reads a string and copies it. */
int field_string(Arena *a, sd_json_variant *v, const char *name, FieldFlags flags, const char **ret);

/* Reads an integer, 0 to 2^64-1. */
int field_u64(sd_json_variant *v, const char *name, FieldFlags flags, uint64_t *ret);

/* Reads an integer, 0 to 2^32-1. */
int field_uid(sd_json_variant *v, const char *name, uid_t *ret);

/* Reads an array of strings and copies them; *ret ends with NULL. */
int field_strv(Arena *a, sd_json_variant *v, const char *name, const char *const **ret);

/* Returns the index of the field's word in a table of n_table words; 0 if the field is missing or its word is not in
 * the table. The table's entry 0 is not looked at: every enumeration has its UNKNOWN there. Never fails. */
int field_enum(sd_json_variant *v, const char *name, const char *const *table, size_t n_table);

/* Fills *ret, zeroed memory of an element's size, from the object v. Returns as the functions above. */
typedef int (*ParseElement)(Arena *a, sd_json_variant *v, void *ret);

/* Reads an array of objects: allocates size bytes for each and fills them with parse. *ret is an array of *ret_n
 * pointers that ends with NULL. */
int field_array(Arena *a, sd_json_variant *v, const char *name, size_t size, ParseElement parse,
                const void *const **ret, size_t *ret_n);
