/* SPDX-License-Identifier: GPL-2.0-only */

/* What the configuration files mean: their sections and keys, which files are read, and every report. */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/config-load.h"
#include "unit.h"

#define MAIN "etc/dmaheapd/dmaheapd.conf"

/* The reports, each a line "etc/…:LINE: message". */
typedef struct Problems {
        const char *root;
        char text[4096];
} Problems;

static void on_problem(const char *path, unsigned line, const char *message, void *userdata) {
        Problems *problems = userdata;
        size_t n = strlen(problems->text);

        assert_int_equal(strncmp(path, problems->root, strlen(problems->root)), 0);
        (void) snprintf(problems->text + n,
                        sizeof(problems->text) - n,
                        "%s:%u: %s\n",
                        path + strlen(problems->root) + 1,
                        line,
                        message);
}

/* Loads what is below root and asserts that exactly these problems are reported. */
static Config *load(const char *root, const char *expected) {
        Problems problems = { .root = root };
        Config *config = NULL;
        unsigned n = 0;

        int r = config_load(root, on_problem, &problems, &config);
        assert_true(r >= 0);
        assert_string_equal(problems.text, expected);
        for (const char *p = expected; (p = strchr(p, '\n')); p++)
                n++;
        assert_int_equal(r, n);
        return config;
}

static const PolicyHeap *find_heap(const Config *config, const char *name) {
        for (size_t i = 0; i < config->policy.n_heaps; i++)
                if (strcmp(config->policy.heaps[i].name, name) == 0)
                        return &config->policy.heaps[i];
        return NULL;
}

static const Role *find_role(const Config *config, const char *name) {
        for (const Role *role = config->roles; role; role = role->next)
                if (strcmp(role->name, name) == 0)
                        return role;
        return NULL;
}

static void assert_amount(PolicyAmount amount, PolicyAmountKind kind, uint64_t value) {
        assert_int_equal(amount.kind, kind);
        assert_int_equal(amount.value, value);
}

static void test_defaults(void **state) {
        _cleanup_(directory_removep) char *root = directory_new();
        _cleanup_(config_freep) Config *config = load(root, "");
        (void) state;

        assert_int_equal(config->idle_timeout_usec, 30 * USEC_PER_SEC);
        assert_int_equal(config->allocation_timeout_usec, 30 * USEC_PER_SEC);
        assert_int_equal(config->connections_max, 512);
        assert_int_equal(config->connections_per_user_max, 64);
        assert_true(config->policy.enforce);
        assert_amount(config->policy.client_bytes_max, POLICY_AMOUNT_PERCENT, 2500);
        assert_amount(config->policy.client_buffers_max, POLICY_AMOUNT_NUMBER, 1024);
        assert_amount(config->policy.user_bytes_max, POLICY_AMOUNT_PERCENT, 5000);
        assert_amount(config->policy.system_bytes_max, POLICY_AMOUNT_PERCENT, 7500);
        assert_amount(config->policy.keep_available, POLICY_AMOUNT_PERCENT, 500);

        const Role *role = find_role(config, "contiguous");
        assert_string_equal(role->heaps[0], "default_cma_region");
        assert_string_equal(role->heaps[3], "default-pool");
        assert_null(role->heaps[4]);
        assert_true(role->other_regions);
        assert_null(find_role(config, "nonesuch"));
}

/* Each section and key, with comments behind the values. */
static void test_everything(void **state) {
        _cleanup_(directory_removep) char *root = directory_new();
        (void) state;

        file_print(root,
                        MAIN,
                        "# a comment\n; another\n\n"
                        "[Daemon]\nIdleTimeoutSec=1min\nAllocationTimeoutSec=2s\n"
                        "ConnectionsMax=10\nConnectionsPerUserMax=3\n"
                        "[Limits]\nEnforce=no\nClientBytesMax=10%%        # of RAM; or bytes\n"
                        "  ClientBuffersMax = infinity\n"
                        "UserBytesMax=\"2G\"\nSystemBytesMax=infinity\nKeepAvailable=64M\n"
                        "[Heap default_cma_region]   # the camera's\nClientBytesMax=12.5%%\nReserveBytes=16M\n"
                        "ReserveFor=camera.service display.service\n"
                        "AllowUsers=root 4294967294\nAllowGroups=0\nAllowUnits=a.service\n"
                        "[Role contiguous]\nHeaps=default_cma_region linux,cma my*\n[Role video]\nHeaps=system\n"
                        "[Client camera.service]\nClientBytesMax=1G\nClientBuffersMax=4096");
        _cleanup_(config_freep) Config *config = load(root, "");

        assert_int_equal(config->idle_timeout_usec, 60 * USEC_PER_SEC);
        assert_int_equal(config->allocation_timeout_usec, 2 * USEC_PER_SEC);
        assert_int_equal(config->connections_max, 10);
        assert_int_equal(config->connections_per_user_max, 3);
        assert_false(config->policy.enforce);
        assert_amount(config->policy.client_bytes_max, POLICY_AMOUNT_PERCENT, 1000);
        assert_amount(config->policy.client_buffers_max, POLICY_AMOUNT_NUMBER, LIMIT_INFINITY);
        assert_amount(config->policy.user_bytes_max, POLICY_AMOUNT_NUMBER, UINT64_C(2) << 30);
        assert_amount(config->policy.system_bytes_max, POLICY_AMOUNT_NUMBER, LIMIT_INFINITY);
        assert_amount(config->policy.keep_available, POLICY_AMOUNT_NUMBER, 64 << 20);

        const PolicyHeap *heap = find_heap(config, "default_cma_region");
        assert_non_null(heap);
        assert_amount(heap->client_bytes_max, POLICY_AMOUNT_PERCENT, 1250);
        assert_amount(heap->reserve_bytes, POLICY_AMOUNT_NUMBER, 16 << 20);
        assert_string_equal(heap->reserve_for[0], "camera.service");
        assert_string_equal(heap->reserve_for[1], "display.service");
        assert_null(heap->reserve_for[2]);
        assert_int_not_equal(heap->restricted, 0);
        assert_int_equal(heap->n_allow_uids, 2);
        assert_int_equal(heap->allow_uids[0], 0);
        assert_int_equal(heap->allow_uids[1], 4294967294);
        assert_int_equal(heap->n_allow_gids, 1);
        assert_string_equal(heap->allow_units[0], "a.service");

        const Role *role = find_role(config, "contiguous");
        assert_string_equal(role->heaps[2], "my*");
        assert_null(role->heaps[3]);
        assert_false(role->other_regions);
        assert_non_null(find_role(config, "video"));

        /* The built-in roles come first, in their order. */
        static const char *const names[] = { "system", "contiguous", "protected", "video" };
        role = config->roles;
        for (size_t i = 0; i < ELEMENTSOF(names); i++, role = role->next)
                assert_string_equal(role->name, names[i]);
        assert_null(role);

        assert_int_equal(config->policy.n_clients, 1);
        assert_string_equal(config->policy.clients[0].unit, "camera.service");
        assert_amount(config->policy.clients[0].bytes_max, POLICY_AMOUNT_NUMBER, 1 << 30);
        assert_amount(config->policy.clients[0].buffers_max, POLICY_AMOUNT_NUMBER, 4096);
}

/* The smallest and the largest numbers that a key takes. test_problems() has those past them. */
static void test_bounds(void **state) {
        _cleanup_(directory_removep) char *root = directory_new();
        (void) state;

        file_print(root,
                        MAIN,
                        "[Daemon]\nConnectionsMax=65536\nConnectionsPerUserMax=1\n"
                        "IdleTimeoutSec=0\nAllocationTimeoutSec=1us\n"
                        "[Limits]\nClientBytesMax=0\nClientBuffersMax=9223372036854775807\nKeepAvailable=100%%\n");
        _cleanup_(config_freep) Config *config = load(root, "");

        assert_int_equal(config->connections_max, 65536);
        assert_int_equal(config->connections_per_user_max, 1);
        assert_int_equal(config->idle_timeout_usec, 0);
        assert_int_equal(config->allocation_timeout_usec, 1);
        assert_amount(config->policy.client_bytes_max, POLICY_AMOUNT_NUMBER, 0);
        assert_amount(config->policy.client_buffers_max, POLICY_AMOUNT_NUMBER, INT64_MAX);
        assert_amount(config->policy.keep_available, POLICY_AMOUNT_PERCENT, 10000);
}

static void test_problems(void **state) {
        _cleanup_(directory_removep) char *root = directory_new();
        (void) state;

        file_print(root,
                        MAIN,
                        "Stray=1\n"                           /* 1 */
                        "[Limits]\n"                          /* 2 */
                        "junk\n"                              /* 3 */
                        "ClientBytesMax=150%%\n"              /* 4 */
                        "UserBytesMax=40%%\n"                 /* 5 */
                        "  continuation\n"                    /* 6 */
                        "SystemBytesMax=\n"                   /* 7 */
                        "KeepAvailable=infinity\n"            /* 8 */
                        "UserBytesMax=41%%\n"                 /* 9 */
                        "BytesMax=1\n"                        /* 10 */
                        "[Limit]\n"                           /* 11 */
                        "ClientBytesMax=1\n"                  /* 12 */
                        "[Daemon\n"                           /* 13 */
                        "ConnectionsMax=1\n"                  /* 14 */
                        "[Daemon]\n"                          /* 15 */
                        "ConnectionsMax=0\n"                  /* 16 */
                        "ConnectionsPerUserMax=65537\n"       /* 17 */
                        "AllocationTimeoutSec=0\n"            /* 18 */
                        "IdleTimeoutSec=\001\n"               /* 19 */
                        "[Heap .hidden]\n"                    /* 20 */
                        "ReserveBytes=1M\n"                   /* 21 */
                        "[Heap system]\n"                     /* 22 */
                        "AllowUsers=no-such-user-here root\n" /* 23 */
                        "AllowUnits=what/ever\n"              /* 24 */
                        "[Client camera]\n"                   /* 25 */
                        "[Daemon x]\n"                        /* 26 */
                        "[Role system]\n"                     /* 27 */
                        "Heaps=system na/me\n" /* 28 */);
        _cleanup_(config_freep) Config *config = load(root,
                        MAIN ":1: this assignment is in no section\n" MAIN
                             ":3: this is neither a section nor an assignment\n" MAIN
                             ":6: this is neither a section nor an assignment\n" MAIN
                             ":13: this is not the beginning of a section, and what follows is ignored\n" MAIN
                             ":19: this line is too long or has control characters\n" MAIN
                             ":9: UserBytesMax= was given before in this section, on line 5; "
                             "none of its values is taken\n" MAIN
                             ":4: ClientBytesMax=150% is not a size, a percentage or infinity\n" MAIN
                             ":7: SystemBytesMax= is not a size, a percentage or infinity\n" MAIN
                             ":8: KeepAvailable=infinity is not a size or a percentage\n" MAIN
                             ":10: there is no BytesMax= in section [Limits]\n" MAIN
                             ":11: there is no section [Limit]\n" MAIN
                             ":16: ConnectionsMax=0 is not a number from 1 to 65536\n" MAIN
                             ":17: ConnectionsPerUserMax=65537 is not a number from 1 to 65536\n" MAIN
                             ":18: AllocationTimeoutSec=0 is not a time span above 0\n" MAIN
                             ":20: '.hidden' is not a name for a section [Heap …]\n" MAIN
                             ":23: AllowUsers=: there is no user 'no-such-user-here'\n" MAIN
                             ":24: AllowUnits=: 'what/ever' is not the name of a unit that has processes\n" MAIN
                             ":25: 'camera' is not a name for a section [Client …]\n" MAIN
                             ":26: 'x' should not be there, the section is just [Daemon]\n" MAIN
                             ":28: Heaps=: 'na/me' is not the name of a heap\n");

        /* The defaults hold. */
        assert_amount(config->policy.client_bytes_max, POLICY_AMOUNT_PERCENT, 2500);
        assert_amount(config->policy.user_bytes_max, POLICY_AMOUNT_PERCENT, 5000);
        assert_amount(config->policy.keep_available, POLICY_AMOUNT_PERCENT, 500);
        assert_int_equal(config->connections_max, 512);
        assert_int_equal(config->policy.n_clients, 0);

        /* An unknown name does not open the heap to everybody: the Allow list still restricts. */
        const PolicyHeap *heap = find_heap(config, "system");
        assert_int_not_equal(heap->restricted, 0);
        assert_int_equal(heap->n_allow_uids, 1);
        assert_null(heap->allow_units[0]);
        assert_string_equal(find_role(config, "system")->heaps[0], "system");
        assert_null(find_role(config, "system")->heaps[1]);
}

/* Each Allow list restricts by itself, also when it has only unknown names; an empty one does not. */
static void test_unknown_names_restrict(void **state) {
        static const char *const keys[] = { "AllowUsers", "AllowGroups", "AllowUnits" };
        static const char *const reports[] = {
                "AllowUsers=: there is no user 'no/one'",
                "AllowGroups=: there is no group 'no/one'",
                "AllowUnits=: 'no/one' is not the name of a unit that has processes",
        };
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                _cleanup_(directory_removep) char *root = directory_new();
                char expected[256];

                file_print(root, MAIN, "[Heap a]\n%s=no/one\n[Heap b]\n%s=\n", keys[i], keys[i]);
                (void) snprintf(expected, sizeof(expected), MAIN ":2: %s\n", reports[i]);
                _cleanup_(config_freep) Config *config = load(root, expected);
                assert_int_not_equal(find_heap(config, "a")->restricted, 0);
                assert_int_equal(find_heap(config, "b")->restricted, 0);
        }
}

static void test_same_key_in_reopened_section(void **state) {
        _cleanup_(directory_removep) char *root = directory_new();
        (void) state;

        file_print(root, MAIN, "[Limits]\nEnforce=no\n[Daemon]\nConnectionsMax=9\n[Limits]\nKeepAvailable=1%%\n");
        _cleanup_(config_freep) Config *config = load(root, "");
        assert_false(config->policy.enforce);
        assert_amount(config->policy.keep_available, POLICY_AMOUNT_PERCENT, 100);

        file_print(root, MAIN, "[Limits]\nEnforce=no\n[Daemon]\nConnectionsMax=9\n[Limits]\nEnforce=no\n");
        _cleanup_(config_freep) Config *other = load(root,
                        MAIN ":6: Enforce= was given before in this section, on line 2; none of its values is taken\n");
        assert_true(other->policy.enforce);
        assert_int_equal(other->connections_max, 9);
}

static unsigned connections(const char *root) {
        _cleanup_(config_freep) Config *config = load(root, "");

        return config->connections_max;
}

static void test_precedence(void **state) {
        _cleanup_(directory_removep) char *root = directory_new();
        char path[4096];
        (void) state;

        file_print(root, "usr/lib/dmaheapd/dmaheapd.conf", "[Daemon]\nConnectionsMax=1\nConnectionsPerUserMax=1\n");
        assert_int_equal(connections(root), 1);
        file_print(root, "usr/local/lib/dmaheapd/dmaheapd.conf", "[Daemon]\nConnectionsMax=2\n");
        assert_int_equal(connections(root), 2);
        file_print(root, "run/dmaheapd/dmaheapd.conf", "[Daemon]\nConnectionsMax=3\n");
        assert_int_equal(connections(root), 3);
        file_print(root, MAIN, "[Daemon]\nConnectionsMax=4\n");
        _cleanup_(config_freep) Config *config = load(root, "");
        assert_int_equal(config->connections_max, 4);
        assert_int_equal(config->connections_per_user_max, 64); /* only one main file is read */

        /* Drop-ins replace what the main file says, in the order of their names and not of their directories. */
        file_print(root, "usr/lib/dmaheapd/dmaheapd.conf.d/20-b.conf", "[Daemon]\nConnectionsMax=20\n");
        file_print(root, "etc/dmaheapd/dmaheapd.conf.d/10-a.conf", "[Daemon]\nConnectionsMax=10\n");
        file_print(root, "etc/dmaheapd/dmaheapd.conf.d/30-c.conf.off", "[Daemon]\nConnectionsMax=30\n");
        file_print(root, "etc/dmaheapd/dmaheapd.conf.d/.40-d.conf", "[Daemon]\nConnectionsMax=40\n");
        assert_int_equal(connections(root), 20);

        /* Of two drop-ins with one name, the one in the first directory counts, even if it is empty. */
        file_print(root, "usr/local/lib/dmaheapd/dmaheapd.conf.d/20-b.conf", "[Daemon]\nConnectionsMax=21\n");
        assert_int_equal(connections(root), 21);
        file_print(root, "run/dmaheapd/dmaheapd.conf.d/20-b.conf", "%s", "");
        assert_int_equal(connections(root), 10);

        /* A link to /dev/null masks a drop-in too, and the main file. */
        (void) snprintf(path, sizeof(path), "%s/etc/dmaheapd/dmaheapd.conf.d/10-a.conf", root);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink("/dev/null", path), 0);
        assert_int_equal(connections(root), 4);
        (void) snprintf(path, sizeof(path), "%s/" MAIN, root);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(symlink("/dev/null", path), 0);
        assert_int_equal(connections(root), 512);
}

/* The names alone give the order of drop-ins, whichever directories they are in. */
static void test_drop_in_order(void **state) {
        static const char *const orders[][2] = { { "etc", "usr/lib" }, { "usr/lib", "etc" } };
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(orders); i++) {
                _cleanup_(directory_removep) char *root = directory_new();
                char path[256];

                (void) snprintf(path, sizeof(path), "%s/dmaheapd/dmaheapd.conf.d/10-a.conf", orders[i][0]);
                file_print(root, path, "[Daemon]\nConnectionsMax=10\n");
                (void) snprintf(path, sizeof(path), "%s/dmaheapd/dmaheapd.conf.d/20-b.conf", orders[i][1]);
                file_print(root, path, "[Daemon]\nConnectionsMax=20\n");
                assert_int_equal(connections(root), 20);
        }
}

/* A bad value in a drop-in leaves what the files before it said. An empty list in a drop-in takes a list away. */
static void test_drop_in_over_main(void **state) {
        _cleanup_(directory_removep) char *root = directory_new();
        (void) state;

        file_print(root, MAIN, "[Daemon]\nConnectionsMax=7\n[Heap system]\nAllowUsers=root\nAllowGroups=0\n");
        file_print(root,
                        "etc/dmaheapd/dmaheapd.conf.d/a.conf",
                        "[Daemon]\nConnectionsMax=many\n[Heap system]\nAllowUsers=\n");
        _cleanup_(config_freep) Config *config = load(root,
                        "etc/dmaheapd/dmaheapd.conf.d/a.conf:2: ConnectionsMax=many is not a number from 1 to 65536\n");
        assert_int_equal(config->connections_max, 7);
        assert_int_not_equal(find_heap(config, "system")->restricted, 0);
        assert_int_equal(find_heap(config, "system")->n_allow_uids, 0);

        file_print(root, "etc/dmaheapd/dmaheapd.conf.d/b.conf", "[Heap system]\nAllowGroups=\n");
        _cleanup_(config_freep) Config *other = load(root,
                        "etc/dmaheapd/dmaheapd.conf.d/a.conf:2: ConnectionsMax=many is not a number from 1 to 65536\n");
        assert_int_equal(find_heap(other, "system")->restricted, 0);
}

static void test_not_a_file(void **state) {
        _cleanup_(directory_removep) char *root = directory_new();
        char path[4096];
        (void) state;

        file_print(root, "etc/dmaheapd/dmaheapd.conf.d/a.conf/b", "%s", "");
        (void) snprintf(path, sizeof(path), "%s/etc/dmaheapd/dmaheapd.conf.d/b.conf", root);
        assert_int_equal(mkfifo(path, 0600), 0);
        _cleanup_(config_freep) Config *config = load(root,
                        "etc/dmaheapd/dmaheapd.conf.d/a.conf:0: is not a regular file\n"
                        "etc/dmaheapd/dmaheapd.conf.d/b.conf:0: is not a regular file\n");
}

static void test_check_file(void **state) {
        _cleanup_(directory_removep) char *root = directory_new();
        Problems problems = { .root = root };
        char path[4096];
        (void) state;

        (void) snprintf(path, sizeof(path), "%s/x", root);
        assert_int_equal(config_check_file(path, on_problem, &problems), 1);
        assert_string_equal(problems.text, "x:0: does not exist\n");

        file_print(root, "x", "[Limits]\nEnforce=yes\n");
        assert_int_equal(config_check_file(path, NULL, NULL), 0);
        file_print(root, "x", "[Limits]\nEnforce=yes\nEnforce=yes\nx\n");
        assert_int_equal(config_check_file(path, NULL, NULL), 2);
}

/* The longest line and the largest file, and one byte more. */
static void test_sizes(void **state) {
        _cleanup_(directory_removep) char *root = directory_new();
        static char text[256 * 1024 + 2];
        char path[4096];
        (void) state;

        (void) snprintf(path, sizeof(path), "%s/x", root);
        memset(text, '#', sizeof(text));
        file_write(root, "x", text, 4096);
        assert_int_equal(config_check_file(path, NULL, NULL), 0);
        file_write(root, "x", text, 4097);
        assert_int_equal(config_check_file(path, NULL, NULL), 1);

        for (size_t i = 0; i < sizeof(text); i += 100)
                text[i] = '\n';
        file_write(root, "x", text, 256 * 1024);
        assert_int_equal(config_check_file(path, NULL, NULL), 0);
        file_write(root, "x", text, 256 * 1024 + 1);
        assert_int_equal(config_check_file(path, NULL, NULL), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_everything),
                cmocka_unit_test(test_bounds),
                cmocka_unit_test(test_problems),
                cmocka_unit_test(test_unknown_names_restrict),
                cmocka_unit_test(test_same_key_in_reopened_section),
                cmocka_unit_test(test_precedence),
                cmocka_unit_test(test_drop_in_order),
                cmocka_unit_test(test_drop_in_over_main),
                cmocka_unit_test(test_not_a_file),
                cmocka_unit_test(test_check_file),
                cmocka_unit_test(test_sizes),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
