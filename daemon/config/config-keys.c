/* SPDX-License-Identifier: GPL-2.0-only */

/* The meaning of the configuration: a table of all keys, each with its section, its setter and the member that it
 * sets. A setter that cannot use a value reports it and leaves the member alone, so the default holds, or what an
 * earlier file said. A list is the exception: it is replaced by its valid words, and the others are reported. */

#include <grp.h>
#include <pwd.h>

#include "config/config-keys.h"
#include "config/config-value.h"
#include "util/heap-name.h"
#include "util/strv.h"

/* PolicyHeap.restricted has one bit for each Allow list that is not empty. */
enum {
        RESTRICTED_USERS = 1 << 0,
        RESTRICTED_GROUPS = 1 << 1,
        RESTRICTED_UNITS = 1 << 2,
};

/* What a setter gets. It returns 0, also when it has reported the value, or -ENOMEM. */
typedef struct Setting {
        ConfigReporter *reporter;
        const ConfigAssignment *assignment;
        void *object; /* what the section is about: Config, PolicyHeap, Role or PolicyClient */
        void *field;  /* the member of the object that the key sets */
} Setting;

static void report_value(const Setting *setting, const char *wanted) {
        config_report(setting->reporter,
                        setting->assignment->line,
                        "%s=%s is not %s",
                        setting->assignment->key,
                        setting->assignment->value,
                        wanted);
}

static int set_boolean(const Setting *setting) {
        if (config_parse_boolean(setting->assignment->value, setting->field) < 0)
                report_value(setting, "yes or no");
        return 0;
}

static int set_usec(const Setting *setting) {
        if (config_parse_usec(setting->assignment->value, setting->field) < 0)
                report_value(setting, "a time span");
        return 0;
}

/* With a timeout of 0 no allocation would succeed. */
static int set_usec_nonzero(const Setting *setting) {
        uint64_t value;

        if (config_parse_usec(setting->assignment->value, &value) < 0 || value == 0)
                report_value(setting, "a time span above 0");
        else
                *(uint64_t *) setting->field = value;
        return 0;
}

static int set_connections(const Setting *setting) {
        uint64_t value;

        if (config_parse_number(setting->assignment->value, 65536, &value) < 0 || value == 0)
                report_value(setting, "a number from 1 to 65536");
        else
                *(unsigned *) setting->field = value;
        return 0;
}

static int set_bytes(const Setting *setting) {
        if (config_parse_amount(setting->assignment->value, setting->field) < 0)
                report_value(setting, "a size, a percentage or infinity");
        return 0;
}

static int set_bytes_finite(const Setting *setting) {
        PolicyAmount amount;

        if (config_parse_amount(setting->assignment->value, &amount) < 0 || amount.value == LIMIT_INFINITY)
                report_value(setting, "a size or a percentage");
        else
                *(PolicyAmount *) setting->field = amount;
        return 0;
}

static int set_count(const Setting *setting) {
        PolicyAmount amount = { POLICY_AMOUNT_NUMBER, LIMIT_INFINITY };

        if (!streq(setting->assignment->value, "infinity") &&
                        config_parse_number(setting->assignment->value, INT64_MAX, &amount.value) < 0)
                report_value(setting, "a number or infinity");
        else
                *(PolicyAmount *) setting->field = amount;
        return 0;
}

/* Returns the next word of *s, which it ends with a NUL in place, and moves *s behind it. NULL at the end. */
static char *next_word(char **s) {
        char *word = *s + strspn(*s, " \t");
        if (*word == 0)
                return NULL;

        char *end = word + strcspn(word, " \t");
        *s = *end ? end + 1 : end;
        *end = 0;
        return word;
}

/* The name of a heap, or the beginning of one and a '*'. */
static bool is_heap_pattern(const char *word) {
        char name[HEAP_NAME_MAX + 2];
        size_t n = strlen(word);

        if (n == 0 || n > HEAP_NAME_MAX + 1)
                return false;

        memcpy(name, word, n + 1);
        if (name[n - 1] == '*') {
                name[n - 1] = 0;
                if (n == 1)
                        return true;
        }
        return heap_name_is_valid(name);
}

/* Replaces the list in setting->field by the valid words of the value, and reports the others. */
static int set_words(const Setting *setting, bool (*is_valid)(const char *word), const char *wanted) {
        _cleanup_free_ char *text = strdup(setting->assignment->value);
        /* A value of n characters has at most n/2 + 1 words. */
        _cleanup_(strv_freep) char **words = calloc(strlen(setting->assignment->value) / 2 + 2, sizeof(char *));
        if (!text || !words)
                return -ENOMEM;

        char *rest = text, *word;
        size_t n = 0;
        while ((word = next_word(&rest))) {
                if (!is_valid(word)) {
                        config_report(setting->reporter,
                                        setting->assignment->line,
                                        "%s=: '%s' is not %s",
                                        setting->assignment->key,
                                        word,
                                        wanted);
                        continue;
                }

                words[n] = strdup(word);
                if (!words[n++])
                        return -ENOMEM;
        }

        char ***field = setting->field;
        strv_free(*field);
        *field = TAKE_PTR(words);
        return 0;
}

static int set_units(const Setting *setting) {
        return set_words(setting, config_unit_is_valid, "the name of a unit that has processes");
}

static int set_role_heaps(const Setting *setting) {
        Role *role = setting->object;

        role->other_regions = false;
        return set_words(setting, is_heap_pattern, "the name of a heap");
}

/* A list whose names are all unknown still restricts, or a misspelled name would open the heap to everybody. */
static void set_restricted(const Setting *setting, unsigned bit) {
        PolicyHeap *heap = setting->object;

        if (setting->assignment->value[0] != 0)
                heap->restricted |= bit;
        else
                heap->restricted &= ~bit;
}

static int set_allow_units(const Setting *setting) {
        set_restricted(setting, RESTRICTED_UNITS);
        return set_units(setting);
}

static bool lookup_user(const char *name, uint32_t *ret) {
        const struct passwd *entry = getpwnam(name);

        if (entry)
                *ret = entry->pw_uid;
        return entry;
}

static bool lookup_group(const char *name, uint32_t *ret) {
        const struct group *entry = getgrnam(name);

        if (entry)
                *ret = entry->gr_gid;
        return entry;
}

/* Replaces *field by the ids of the users or groups that the value names or numbers. The largest id, -1, means none. */
static int parse_ids(const Setting *setting, bool (*lookup)(const char *name, uint32_t *ret), const char *what,
                uint32_t **field, size_t *n_field) {

        _Static_assert(sizeof(uid_t) == sizeof(uint32_t) && sizeof(gid_t) == sizeof(uint32_t), "ids are 32 bits");

        _cleanup_free_ char *text = strdup(setting->assignment->value);
        _cleanup_free_ uint32_t *ids = calloc(strlen(setting->assignment->value) / 2 + 1, sizeof(uint32_t));
        if (!text || !ids)
                return -ENOMEM;

        char *rest = text, *word;
        size_t n = 0;
        while ((word = next_word(&rest))) {
                uint64_t number;
                uint32_t id;

                if (config_parse_number(word, UINT32_MAX - 1, &number) >= 0)
                        id = number;
                else if (!lookup(word, &id)) {
                        config_report(setting->reporter,
                                        setting->assignment->line,
                                        "%s=: there is no %s '%s'",
                                        setting->assignment->key,
                                        what,
                                        word);
                        continue;
                }

                ids[n++] = id;
        }

        free(*field);
        *field = TAKE_PTR(ids);
        *n_field = n;
        return 0;
}

static int set_allow_users(const Setting *setting) {
        PolicyHeap *heap = setting->object;

        set_restricted(setting, RESTRICTED_USERS);
        return parse_ids(setting, lookup_user, "user", &heap->allow_uids, &heap->n_allow_uids);
}

static int set_allow_groups(const Setting *setting) {
        PolicyHeap *heap = setting->object;

        set_restricted(setting, RESTRICTED_GROUPS);
        return parse_ids(setting, lookup_group, "group", &heap->allow_gids, &heap->n_allow_gids);
}

typedef enum SectionKind {
        SECTION_DAEMON,
        SECTION_LIMITS,
        SECTION_HEAP,
        SECTION_ROLE,
        SECTION_CLIENT,
        _SECTION_INVALID,
} SectionKind;

static const struct {
        const char *name;
        bool (*is_valid)(const char *name); /* for the second word, as in [Heap NAME]; NULL for a section without one */
} sections[] = {
        [SECTION_DAEMON] = { "Daemon", NULL },
        [SECTION_LIMITS] = { "Limits", NULL },
        [SECTION_HEAP] = { "Heap", heap_name_is_valid },
        [SECTION_ROLE] = { "Role", heap_name_is_valid },
        [SECTION_CLIENT] = { "Client", config_unit_is_valid },
};

static const struct {
        SectionKind section;
        const char *key;
        int (*set)(const Setting *setting);
        size_t offset;
} keys[] = {
        { SECTION_DAEMON, "IdleTimeoutSec", set_usec, offsetof(Config, idle_timeout_usec) },
        { SECTION_DAEMON, "AllocationTimeoutSec", set_usec_nonzero, offsetof(Config, allocation_timeout_usec) },
        { SECTION_DAEMON, "ConnectionsMax", set_connections, offsetof(Config, connections_max) },
        { SECTION_DAEMON, "ConnectionsPerUserMax", set_connections, offsetof(Config, connections_per_user_max) },
        { SECTION_LIMITS, "Enforce", set_boolean, offsetof(Config, policy.enforce) },
        { SECTION_LIMITS, "ClientBytesMax", set_bytes, offsetof(Config, policy.client_bytes_max) },
        { SECTION_LIMITS, "ClientBuffersMax", set_count, offsetof(Config, policy.client_buffers_max) },
        { SECTION_LIMITS, "UserBytesMax", set_bytes, offsetof(Config, policy.user_bytes_max) },
        { SECTION_LIMITS, "SystemBytesMax", set_bytes, offsetof(Config, policy.system_bytes_max) },
        { SECTION_LIMITS, "KeepAvailable", set_bytes_finite, offsetof(Config, policy.keep_available) },
        { SECTION_HEAP, "ClientBytesMax", set_bytes, offsetof(PolicyHeap, client_bytes_max) },
        { SECTION_HEAP, "ReserveBytes", set_bytes_finite, offsetof(PolicyHeap, reserve_bytes) },
        { SECTION_HEAP, "ReserveFor", set_units, offsetof(PolicyHeap, reserve_for) },
        { SECTION_HEAP, "AllowUsers", set_allow_users, 0 },
        { SECTION_HEAP, "AllowGroups", set_allow_groups, 0 },
        { SECTION_HEAP, "AllowUnits", set_allow_units, offsetof(PolicyHeap, allow_units) },
        { SECTION_ROLE, "Heaps", set_role_heaps, offsetof(Role, heaps) },
        { SECTION_CLIENT, "ClientBytesMax", set_bytes, offsetof(PolicyClient, bytes_max) },
        { SECTION_CLIENT, "ClientBuffersMax", set_count, offsetof(PolicyClient, buffers_max) },
};

/* Splits "Heap system" into the kind of section and the name. An unknown section, or a bad name, is reported at the
 * line that begins the section. */
static SectionKind parse_section(ConfigReporter *reporter, const ConfigAssignment *assignment, const char **ret_name) {
        size_t n = strcspn(assignment->section, " \t");
        const char *name = assignment->section + n + strspn(assignment->section + n, " \t");
        bool is_first = assignment->key[0] == 0;

        for (size_t i = 0; i < ELEMENTSOF(sections); i++) {
                if (strlen(sections[i].name) != n || strncmp(assignment->section, sections[i].name, n) != 0)
                        continue;

                if (sections[i].is_valid ? sections[i].is_valid(name) : assignment->section[n] == 0) {
                        *ret_name = name;
                        return i;
                }

                if (is_first)
                        config_report(reporter,
                                        assignment->line,
                                        sections[i].is_valid ? "'%s' is not a name for a section [%s …]" :
                                                               "'%s' should not be there, the section is just [%s]",
                                        name,
                                        sections[i].name);
                return _SECTION_INVALID;
        }

        if (is_first)
                config_report(reporter, assignment->line, "there is no section [%s]", assignment->section);
        return _SECTION_INVALID;
}

/* The object that has the members for a section's keys. NULL when out of memory. */
static void *section_object(Config *config, SectionKind kind, const char *name) {
        switch (kind) {

        case SECTION_DAEMON:
        case SECTION_LIMITS:
                return config;

        case SECTION_HEAP:
                return config_get_heap(config, name);

        case SECTION_ROLE:
                return config_get_role(config, name);

        case SECTION_CLIENT:
                return config_get_client(config, name);

        case _SECTION_INVALID:
                break;
        }

        return NULL;
}

int config_apply(Config *config, ConfigReporter *reporter, const ConfigAssignment *assignment) {
        const char *name;
        SectionKind kind = parse_section(reporter, assignment, &name);

        /* A section that is no good was reported where it began; that report is enough for all its keys. */
        if (kind == _SECTION_INVALID || assignment->key[0] == 0)
                return 0;

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                if (keys[i].section != kind || !streq(keys[i].key, assignment->key))
                        continue;

                void *object = section_object(config, kind, name);
                if (!object)
                        return -ENOMEM;

                return keys[i].set(&(Setting) {
                        .reporter = reporter,
                        .assignment = assignment,
                        .object = object,
                        .field = (char *) object + keys[i].offset,
                });
        }

        config_report(reporter,
                        assignment->line,
                        "there is no %s= in section [%s]",
                        assignment->key,
                        sections[kind].name);
        return 0;
}
