/* SPDX-License-Identifier: GPL-2.0-only */

/* The ledger and its file: what is recorded is found again, and a file with any damage is set aside. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ledger/ledger-file.h"
#include "ledger/ledger.h"
#include "unit.h"
#include "util/fd-util.h"

/* The smallest file: the header's page, and the first LEDGER_FILE_STEP slots. */
#define FILE_SIZE_MIN (LEDGER_FILE_HEADER_SIZE + LEDGER_FILE_STEP * LEDGER_FILE_SLOT_SIZE)

static const uint8_t boot[16] = "this boot";
static const uint8_t other_boot[16] = "another";

static const Identity camera = {
        .unit = (char *) "camera.service",
        .cgroup = (char *) "/system.slice/camera.service",
        .cgroup_ids = { { 4711, 42 }, 2 },
        .uid = 1000,
        .user = 1000,
};
static const Identity nobody = { .cgroup = (char *) LEDGER_UNATTRIBUTED, .uid = (uid_t) -1, .user = (uid_t) -1 };

typedef struct Place {
        char *path;
        int fd;
} Place;

static Place place_new(void) {
        Place place = { .path = directory_new() };

        place.fd = open(place.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(place.fd >= 0);
        return place;
}

static void place_done(Place *place) {
        safe_close(place->fd);
        directory_remove(place->path);
}

/* Opens a ledger that must be good. */
static Ledger *open_good(const Place *place) {
        char *set_aside = NULL;
        Ledger *ledger = NULL;

        assert_int_equal(ledger_open(place->fd, boot, &ledger, &set_aside), 0);
        if (set_aside)
                fail_msg("%s", set_aside);
        return ledger;
}

/* Opens a ledger that must be set aside for this reason. */
static void assert_set_aside(const Place *place, const char *why) {
        _cleanup_(ledger_freep) Ledger *ledger = NULL;
        _cleanup_free_ char *set_aside = NULL;
        struct stat st;

        assert_int_equal(ledger_open(place->fd, boot, &ledger, &set_aside), 0);
        assert_non_null(set_aside);
        if (!strstr(set_aside, why) || strncmp(set_aside, place->path, strlen(place->path)) != 0)
                fail_msg("'%s' does not say '%s'", set_aside, why);
        assert_int_equal(ledger_n_records(ledger), 0);
        assert_int_equal(fstatat(place->fd, "ledger.bad", &st, 0), 0);

        /* The new ledger is good. */
        ledger = ledger_free(ledger);
        ledger = open_good(place);
        assert_int_equal(ledger_n_records(ledger), 0);
}

static int add_one(Ledger *ledger, uint64_t inode, const Identity *owner) {
        LedgerEntry entry = {
                .owner = owner, .heap = "system", .label = "frame", .allocated_usec = 5, .kernel_charges = true
        };

        return ledger_add(ledger, &entry, &(LedgerBuffer) { inode, 4096 }, 1, NULL);
}

static void test_roundtrip(void **state) {
        _cleanup_(place_done) Place place = place_new();
        _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
        struct stat st;
        (void) state;

        assert_int_equal(fstatat(place.fd, "ledger", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(st.st_size, FILE_SIZE_MIN);
        assert_true((uint64_t) st.st_blocks * 512 >= FILE_SIZE_MIN);

        LedgerEntry entry = {
                .owner = &camera, .heap = "system", .label = "frame", .allocated_usec = 77, .kernel_charges = true
        };
        LedgerBuffer buffers[] = { { 30, 4096 }, { 10, 8192 }, { 20, UINT64_C(1) << 47 } };
        LedgerRecord *records[3];
        assert_int_equal(ledger_add(ledger, &entry, buffers, 3, records), 0);
        assert_int_equal(records[0]->inode, 30);
        assert_int_equal(records[2]->inode, 20);
        assert_null(records[0]->userdata);
        assert_int_equal(ledger_sequence(ledger), 1);

        entry = (LedgerEntry) { .owner = &nobody, .heap = "default_cma_region" };
        assert_int_equal(ledger_add(ledger, &entry, &(LedgerBuffer) { 25, 1 }, 1, NULL), 0);
        assert_int_equal(ledger_sequence(ledger), 2);

        ledger = ledger_free(ledger);
        ledger = open_good(&place);
        assert_int_equal(ledger_n_records(ledger), 4);
        assert_int_equal(ledger_sequence(ledger), 2);
        assert_int_equal(ledger_at(ledger, 0)->inode, 10);
        assert_int_equal(ledger_at(ledger, 3)->inode, 30);
        assert_null(ledger_at(ledger, 4));

        const LedgerRecord *record = ledger_find(ledger, 20);
        assert_int_equal(record->size, UINT64_C(1) << 47);
        assert_int_equal(record->allocated_usec, 77);
        assert_int_equal(record->sequence, 1);
        assert_string_equal(record->heap, "system");
        assert_string_equal(record->label, "frame");
        assert_true(record->kernel_charges);
        assert_string_equal(record->owner->unit, "camera.service");
        assert_false(record->owner->unit_is_user);
        assert_string_equal(record->owner->cgroup, "/system.slice/camera.service");
        assert_int_equal(record->owner->cgroup_ids.n, 2);
        assert_int_equal(record->owner->cgroup_ids.ids[0], 4711);
        assert_int_equal(record->owner->cgroup_ids.ids[1], 42);
        assert_int_equal(record->owner->uid, 1000);
        assert_ptr_equal(record->owner, ledger_find(ledger, 10)->owner);

        record = ledger_find(ledger, 25);
        assert_null(record->label);
        assert_null(record->owner->unit);
        assert_false(record->kernel_charges);
        assert_string_equal(record->owner->cgroup, LEDGER_UNATTRIBUTED);
        assert_int_equal(record->owner->uid, (uid_t) -1);
        assert_null(ledger_find(ledger, 26));
}

/* The bytes in the file, which another version of the daemon reads after an upgrade. */
static void test_format(void **state) {
        _cleanup_(place_done) Place place = place_new();
        _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
        LedgerEntry entry = {
                .owner = &camera, .heap = "system", .label = "frame", .allocated_usec = 77, .kernel_charges = true
        };
        static const char strings[] = "systemframecamera.service/system.slice/camera.service";
        uint64_t words[128] = {
                [0] = 30,
                [2] = 4096,
                [3] = 77,
                [4] = 1,
                [8] = 4711,
                [9] = 42,
        };
        uint8_t *bytes = (uint8_t *) words;
        LedgerFileSlot slot;
        (void) state;

        assert_int_equal(ledger_add(ledger, &entry, &(LedgerBuffer) { 30, 4096 }, 1, NULL), 0);
        _cleanup_close_ int fd = openat(place.fd, "ledger", O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, &slot, sizeof(slot), 4096), sizeof(slot));

        memcpy(bytes + 40, (uint32_t[]) { 1000, 1000, 1 | 2 | 4 }, 12); /* uid, user, flags */
        memcpy(bytes + 52, (uint16_t[]) { strlen("/system.slice/camera.service") }, 2);
        memcpy(bytes + 54, (uint8_t[]) { 2, strlen("system"), strlen("frame"), strlen("camera.service") }, 4);
        memcpy(bytes + 192, strings, strlen(strings));
        words[1] = slot.checksum;
        assert_memory_equal(&slot, words, sizeof(slot));
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        LedgerFileHeader header;
        assert_int_equal(pread(fd, &header, sizeof(header), 0), sizeof(header));
        assert_int_equal(slot.checksum, UINT64_C(0x81bc2a088b2b9708));
        assert_int_equal(header.checksum, UINT64_C(0x75f1b57c1b311ed1));
#endif
}

/* Every string at its limit, and one past it. */
static void test_string_limits(void **state) {
        _cleanup_(place_done) Place place = place_new();
        _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
        char heap[LEDGER_HEAP_MAX + 2], label[LEDGER_LABEL_MAX + 2], unit[LEDGER_UNIT_MAX + 2], cgroup[4096];
        (void) state;

        memset(heap, 'h', sizeof(heap));
        memset(label, 'l', sizeof(label));
        memset(unit, 'u', sizeof(unit));
        heap[LEDGER_HEAP_MAX] = label[LEDGER_LABEL_MAX] = unit[LEDGER_UNIT_MAX] = 0;
        for (size_t i = 0; i < sizeof(cgroup); i++)
                cgroup[i] = 'a' + i % 26;
        cgroup[sizeof(cgroup) - 1] = 0;

        Identity owner = { .unit = unit, .unit_is_user = true, .cgroup = cgroup, .cgroup_ids.n = CGROUP_IDS_MAX };
        for (size_t i = 0; i < CGROUP_IDS_MAX; i++)
                owner.cgroup_ids.ids[i] = UINT64_MAX - i;
        LedgerEntry entry = { .owner = &owner, .heap = heap, .label = label };
        assert_int_equal(ledger_add(ledger, &entry, &(LedgerBuffer) { UINT64_MAX, UINT64_MAX }, 1, NULL), 0);
        assert_string_equal(ledger_find(ledger, UINT64_MAX)->owner->cgroup, cgroup);

        entry.heap = "";
        assert_int_equal(ledger_add(ledger, &entry, &(LedgerBuffer) { 1, 1 }, 1, NULL), -EINVAL);
        entry.heap = heap;
        heap[LEDGER_HEAP_MAX] = 'h';
        heap[LEDGER_HEAP_MAX + 1] = 0;
        assert_int_equal(ledger_add(ledger, &entry, &(LedgerBuffer) { 1, 1 }, 1, NULL), -EINVAL);
        heap[LEDGER_HEAP_MAX] = 0;
        label[LEDGER_LABEL_MAX] = 'l';
        label[LEDGER_LABEL_MAX + 1] = 0;
        assert_int_equal(ledger_add(ledger, &entry, &(LedgerBuffer) { 1, 1 }, 1, NULL), -EINVAL);
        label[LEDGER_LABEL_MAX] = 0;
        unit[LEDGER_UNIT_MAX] = 'u';
        unit[LEDGER_UNIT_MAX + 1] = 0;
        assert_int_equal(ledger_add(ledger, &entry, &(LedgerBuffer) { 1, 1 }, 1, NULL), -EINVAL);
        unit[LEDGER_UNIT_MAX] = 0;

        ledger = ledger_free(ledger);
        ledger = open_good(&place);
        const LedgerRecord *record = ledger_find(ledger, UINT64_MAX);
        assert_int_equal(record->size, UINT64_MAX);
        assert_string_equal(record->heap, heap);
        assert_string_equal(record->label, label);
        assert_string_equal(record->owner->unit, unit);
        assert_true(record->owner->unit_is_user);
        assert_int_equal(record->owner->cgroup_ids.n, CGROUP_IDS_MAX);
        assert_int_equal(record->owner->cgroup_ids.ids[CGROUP_IDS_MAX - 1], UINT64_MAX - CGROUP_IDS_MAX + 1);

        /* Cut at the front. */
        size_t length = strlen(record->owner->cgroup) - strlen("…");
        assert_memory_equal(record->owner->cgroup, "…", strlen("…"));
        assert_string_equal(record->owner->cgroup + strlen("…"), cgroup + strlen(cgroup) - length);
        assert_true(length > 400);
}

/* A path that is too long is cut between two characters, since strings in JSON are UTF-8. */
static void test_cut_paths(void **state) {
        _cleanup_(place_done) Place place = place_new();
        _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
        char cgroup[1024];
        (void) state;

        for (unsigned n = 0; n < 3; n++) {
                Identity owner = { .cgroup = cgroup, .cgroup_ids = { .n = 1, .ids = { 7 + n } }, .uid = 1 };
                LedgerEntry entry = { .owner = &owner, .heap = "system" };
                char *p = cgroup;

                for (unsigned i = 0; i <= n; i++)
                        *p++ = '/';
                while (p < cgroup + 900)
                        p = stpcpy(p, "\xe2\x82\xac"); /* the Euro sign, three bytes */

                assert_int_equal(ledger_add(ledger, &entry, &(LedgerBuffer) { 10 + n, 4096 }, 1, NULL), 0);
        }

        ledger = ledger_free(ledger);
        ledger = open_good(&place);
        for (unsigned n = 0; n < 3; n++) {
                const char *p = ledger_find(ledger, 10 + n)->owner->cgroup + strlen("…");
                size_t length = strlen(p);

                assert_true(length > 400 && length % 3 == 0);
                for (; *p; p += 3)
                        assert_memory_equal(p, "\xe2\x82\xac", 3);
        }
}

static void test_refusals(void **state) {
        _cleanup_(place_done) Place place = place_new();
        _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
        LedgerEntry entry = { .owner = &camera, .heap = "system" };
        LedgerBuffer buffers[LEDGER_BATCH_MAX + 1];
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(buffers); i++)
                buffers[i] = (LedgerBuffer) { i + 1, 4096 };
        assert_int_equal(ledger_add(ledger, &entry, buffers, LEDGER_BATCH_MAX + 1, NULL), -EINVAL);
        assert_int_equal(ledger_add(ledger, &entry, buffers, LEDGER_BATCH_MAX, NULL), 0);
        assert_int_equal(ledger_n_records(ledger), LEDGER_BATCH_MAX);

        assert_int_equal(add_one(ledger, 0, &camera), -EINVAL);
        assert_int_equal(add_one(ledger, LEDGER_BATCH_MAX, &camera), -EEXIST);
        LedgerBuffer twice[] = { { 1000, 1 }, { 1001, 1 }, { 1000, 1 } };
        assert_int_equal(ledger_add(ledger, &entry, twice, 3, NULL), -EEXIST);
        LedgerBuffer partly[] = { { 1000, 1 }, { 1, 1 } };
        assert_int_equal(ledger_add(ledger, &entry, partly, 2, NULL), -EEXIST);
        assert_int_equal(ledger_n_records(ledger), LEDGER_BATCH_MAX);
        assert_int_equal(ledger_sequence(ledger), 1);
}

static void test_withdraw(void **state) {
        _cleanup_(place_done) Place place = place_new();
        _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
        LedgerEntry entry = { .owner = &camera, .heap = "system" };
        LedgerBuffer buffers[] = { { 3, 1 }, { 1, 1 }, { 2, 1 } };
        LedgerRecord *records[3];
        (void) state;

        assert_int_equal(add_one(ledger, 9, &nobody), 0);
        assert_int_equal(ledger_add(ledger, &entry, buffers, 3, records), 0);
        ledger_withdraw(ledger, (LedgerRecord *[]) { records[0], records[2] }, 2);
        assert_int_equal(ledger_n_records(ledger), 2);
        assert_null(ledger_find(ledger, 3));
        assert_non_null(ledger_find(ledger, 1));

        ledger = ledger_free(ledger);
        ledger = open_good(&place);
        assert_int_equal(ledger_n_records(ledger), 2);
        assert_int_equal(ledger_at(ledger, 0)->inode, 1);
        assert_int_equal(ledger_at(ledger, 1)->inode, 9);
}

static void count_retired(LedgerRecord *record, void *userdata) {
        *(uint64_t *) userdata += record->inode;
}

static void test_retire(void **state) {
        _cleanup_(place_done) Place place = place_new();
        _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
        uint64_t sum = 0;
        (void) state;

        for (uint64_t inode = 10; inode < 20; inode++)
                assert_int_equal(add_one(ledger, inode, &camera), 0);
        uint64_t sequence = ledger_sequence(ledger);
        assert_int_equal(add_one(ledger, 20, &camera), 0); /* after the census began */

        const uint64_t alive[] = { 1, 11, 12, 19, 30 };
        assert_int_equal(ledger_retire(ledger, alive, 5, sequence, count_retired, &sum), 7);
        assert_int_equal(sum, 10 + 13 + 14 + 15 + 16 + 17 + 18);
        assert_int_equal(ledger_n_records(ledger), 4);
        assert_non_null(ledger_find(ledger, 20));

        assert_int_equal(ledger_retire(ledger, alive, 5, sequence, NULL, NULL), 0);
        assert_int_equal(ledger_retire(ledger, NULL, 0, sequence, NULL, NULL), 3);
        assert_int_equal(ledger_n_records(ledger), 1);

        ledger = ledger_free(ledger);
        ledger = open_good(&place);
        assert_int_equal(ledger_n_records(ledger), 1);
        assert_int_equal(ledger_at(ledger, 0)->inode, 20);
        assert_int_equal(ledger_retire(ledger, NULL, 0, ledger_sequence(ledger), NULL, NULL), 1);
}

/* As many records as the ledger holds, and one more; when all are retired the file is as small as at first. */
static void test_capacity(void **state) {
        _cleanup_(place_done) Place place = place_new();
        _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
        uint64_t *alive = calloc(LEDGER_RECORDS_MAX, sizeof(uint64_t));
        LedgerEntry entry = { .owner = &camera, .heap = "system" };
        LedgerBuffer buffers[LEDGER_BATCH_MAX];
        struct stat st;
        (void) state;

        assert_non_null(alive);
        for (uint64_t n = 0; n < LEDGER_RECORDS_MAX;) {
                size_t batch = MIN((uint64_t) LEDGER_BATCH_MAX, LEDGER_RECORDS_MAX - n);

                for (size_t i = 0; i < batch; i++, n++) {
                        buffers[i] = (LedgerBuffer) { n + 1, 4096 };
                        alive[n] = n + 1;
                }
                assert_int_equal(ledger_add(ledger, &entry, buffers, batch, NULL), 0);
        }
        assert_int_equal(ledger_n_records(ledger), LEDGER_RECORDS_MAX);
        assert_int_equal(add_one(ledger, LEDGER_RECORDS_MAX + 1, &camera), -ENOBUFS);

        /* A slot in the middle that has become free is used again. */
        LedgerRecord *record = ledger_find(ledger, 30000);
        ledger_withdraw(ledger, &record, 1);
        buffers[0].inode = LEDGER_RECORDS_MAX + 1;
        buffers[1].inode = LEDGER_RECORDS_MAX + 2;
        assert_int_equal(ledger_add(ledger, &entry, buffers, 2, NULL), -ENOBUFS);
        assert_int_equal(ledger_add(ledger, &entry, buffers, 1, NULL), 0);

        ledger = ledger_free(ledger);
        ledger = open_good(&place);
        assert_int_equal(ledger_n_records(ledger), LEDGER_RECORDS_MAX);
        assert_int_equal(ledger_retire(ledger, alive, LEDGER_RECORDS_MAX, UINT64_MAX, NULL, NULL), 1);
        assert_int_equal(ledger_retire(ledger, NULL, 0, UINT64_MAX, NULL, NULL), LEDGER_RECORDS_MAX - 1);
        assert_int_equal(fstatat(place.fd, "ledger", &st, 0), 0);
        assert_int_equal(st.st_size, FILE_SIZE_MIN);
        assert_int_equal(add_one(ledger, 7, &camera), 0);
        ledger = ledger_free(ledger);
        ledger = open_good(&place);
        assert_int_equal(ledger_n_records(ledger), 1);
        free(alive);
}

static void test_without_directory(void **state) {
        _cleanup_(ledger_freep) Ledger *ledger = NULL;
        _cleanup_free_ char *set_aside = NULL;
        (void) state;

        assert_int_equal(ledger_open(-EBADF, boot, &ledger, &set_aside), 0);
        assert_null(set_aside);
        assert_int_equal(add_one(ledger, 7, &camera), 0);
        assert_int_equal(ledger_n_records(ledger), 1);
}

/* A ledger with 300 records, in 512 slots, closed. */
static Place used_place(void) {
        Place place = place_new();
        Ledger *ledger = open_good(&place);

        for (uint64_t i = 1; i <= 300; i++)
                assert_int_equal(add_one(ledger, i, &camera), 0);
        ledger_free(ledger);
        return place;
}

static void overwrite(const Place *place, off_t offset, const void *data, size_t size) {
        _cleanup_close_ int fd = openat(place->fd, "ledger", O_WRONLY | O_CLOEXEC);

        assert_int_equal(pwrite(fd, data, size, offset), size);
}

static void cut(const Place *place, off_t size) {
        _cleanup_close_ int fd = openat(place->fd, "ledger", O_WRONLY | O_CLOEXEC);

        assert_int_equal(ftruncate(fd, size), 0);
}

static void test_truncated(void **state) {
        static const off_t sizes[] = { 0, 1, 40, 4095, 4096, 4096 + 1024, 4096 + 256 * 1024, 4096 + 512 * 1024 - 1 };
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_(place_done) Place place = used_place();

                cut(&place, sizes[i]);
                assert_set_aside(&place, "it is truncated");
        }

        /* A daemon killed while the file grew leaves it longer than its header says. */
        _cleanup_(place_done) Place place = used_place();
        cut(&place, 4096 + 768 * 1024);
        _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
        assert_int_equal(ledger_n_records(ledger), 300);
}

static void test_damaged(void **state) {
        (void) state;

        /* One bit is flipped, in each byte of the header and in every 37th of a record. */
        for (off_t offset = 0; offset < (off_t) sizeof(LedgerFileHeader); offset++) {
                _cleanup_(place_done) Place place = used_place();
                uint8_t byte;
                _cleanup_close_ int fd = openat(place.fd, "ledger", O_RDONLY | O_CLOEXEC);

                assert_int_equal(pread(fd, &byte, 1, offset), 1);
                byte ^= 0x10;
                overwrite(&place, offset, &byte, 1);
                assert_set_aside(&place, "ledger.bad: ");
        }

        for (off_t offset = 0; offset < LEDGER_FILE_SLOT_SIZE; offset += 37) {
                _cleanup_(place_done) Place place = used_place();
                off_t at = LEDGER_FILE_HEADER_SIZE + 299 * LEDGER_FILE_SLOT_SIZE + offset;
                uint8_t byte;
                _cleanup_close_ int fd = openat(place.fd, "ledger", O_RDONLY | O_CLOEXEC);

                assert_int_equal(pread(fd, &byte, 1, at), 1);
                byte ^= 0x10;
                overwrite(&place, at, &byte, 1);
                assert_set_aside(&place, "record 299: its checksum is wrong");
        }
}

static void test_noise(void **state) {
        _cleanup_(place_done) Place place = used_place();
        static uint8_t noise[100000];
        (void) state;

        for (size_t i = 0; i < sizeof(noise); i++)
                noise[i] = rand() >> 8;
        overwrite(&place, 0, noise, sizeof(noise));
        assert_set_aside(&place, "it is no ledger");
}

static void test_other_boot_and_version(void **state) {
        _cleanup_(place_done) Place place = used_place();
        _cleanup_(ledger_freep) Ledger *ledger = NULL;
        _cleanup_free_ char *set_aside = NULL;
        (void) state;

        assert_int_equal(ledger_open(place.fd, other_boot, &ledger, &set_aside), 0);
        assert_non_null(strstr(set_aside, "it is of another boot"));
        ledger = ledger_free(ledger);

        /* Opened for the first boot again: ledger.bad is replaced. */
        assert_set_aside(&place, "it is of another boot");

        _cleanup_(place_done) Place newer = used_place();
        _cleanup_close_ int fd = openat(newer.fd, "ledger", O_RDONLY | O_CLOEXEC);
        LedgerFileHeader header;
        assert_int_equal(pread(fd, &header, sizeof(header), 0), sizeof(header));
        header.version++;
        header.checksum = ledger_file_header_checksum(&header);
        overwrite(&newer, 0, &header, sizeof(header));
        assert_set_aside(&newer, "it is of another version");
}

/* Slots with a right checksum and impossible contents. */
static void test_impossible(void **state) {
        static const struct {
                size_t offset;
                uint8_t value;
        } changes[] = {
                { offsetof(LedgerFileSlot, flags), 0xff },
                { offsetof(LedgerFileSlot, n_cgroup_ids), CGROUP_IDS_MAX + 1 },
                { offsetof(LedgerFileSlot, n_cgroup_ids), 3 }, /* the third is 0 */
                { offsetof(LedgerFileSlot, heap_length), 0 },
                { offsetof(LedgerFileSlot, heap_length), LEDGER_HEAP_MAX + 1 },
                { offsetof(LedgerFileSlot, label_length), LEDGER_LABEL_MAX + 1 },
                { offsetof(LedgerFileSlot, cgroup_length), 0 },
                { offsetof(LedgerFileSlot, cgroup_length) + 1, 0xff },
                { offsetof(LedgerFileSlot, strings) + 3, 0 },
        };
        (void) state;

        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                _cleanup_(place_done) Place place = used_place();
                off_t at = LEDGER_FILE_HEADER_SIZE + 5 * LEDGER_FILE_SLOT_SIZE;
                LedgerFileSlot slot;
                _cleanup_close_ int fd = openat(place.fd, "ledger", O_RDONLY | O_CLOEXEC);

                assert_int_equal(pread(fd, &slot, sizeof(slot), at), sizeof(slot));
                ((uint8_t *) &slot)[changes[i].offset] = changes[i].value;
                ledger_file_seal(&slot);
                overwrite(&place, at, &slot, sizeof(slot));
                assert_set_aside(&place, "record 5: it holds what no record can hold");
        }

        /* Two records of one buffer. */
        _cleanup_(place_done) Place place = used_place();
        LedgerFileSlot slot;
        _cleanup_close_ int fd = openat(place.fd, "ledger", O_RDONLY | O_CLOEXEC);
        assert_int_equal(pread(fd, &slot, sizeof(slot), LEDGER_FILE_HEADER_SIZE), sizeof(slot));
        overwrite(&place, LEDGER_FILE_HEADER_SIZE + 400 * LEDGER_FILE_SLOT_SIZE, &slot, sizeof(slot));
        assert_set_aside(&place, "it has two records of one buffer");
}

/* A kill between the two writes of a record leaves a slot without an inode, which is free. */
static void test_half_written(void **state) {
        _cleanup_(place_done) Place place = used_place();
        _cleanup_close_ int fd = openat(place.fd, "ledger", O_RDONLY | O_CLOEXEC);
        LedgerFileSlot slot;
        (void) state;

        assert_int_equal(pread(fd, &slot, sizeof(slot), LEDGER_FILE_HEADER_SIZE), sizeof(slot));
        slot.inode = 0;
        slot.checksum = 1;
        overwrite(&place, LEDGER_FILE_HEADER_SIZE + 400 * LEDGER_FILE_SLOT_SIZE, &slot, sizeof(slot));
        _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
        assert_int_equal(ledger_n_records(ledger), 300);
        for (uint64_t i = 301; i <= 450; i++)
                assert_int_equal(add_one(ledger, i, &camera), 0);
}

/* A directory, a FIFO, and a link to a good ledger of another directory, which must not be touched. */
static void test_not_a_file(void **state) {
        static const char *const reasons[] = {
                "ledger.bad: Is a directory",
                "ledger.bad: it is not a regular file",
                "ledger.bad: Too many levels of symbolic links",
        };
        (void) state;

        for (unsigned i = 0; i < ELEMENTSOF(reasons); i++) {
                _cleanup_(place_done) Place place = place_new(), elsewhere = used_place();
                char target[4096];

                (void) snprintf(target, sizeof(target), "%s/ledger", elsewhere.path);
                if (i == 0)
                        assert_int_equal(mkdirat(place.fd, "ledger", 0700), 0);
                else if (i == 1)
                        assert_int_equal(mkfifoat(place.fd, "ledger", 0600), 0);
                else
                        assert_int_equal(symlinkat(target, place.fd, "ledger"), 0);
                assert_set_aside(&place, reasons[i]);

                _cleanup_(ledger_freep) Ledger *ledger = open_good(&elsewhere);
                assert_int_equal(ledger_n_records(ledger), 300);
        }
}

/* A ledger.bad that cannot be replaced stays, and the ledger is renamed to the next name. */
static void test_bad_in_the_way(void **state) {
        _cleanup_(place_done) Place place = place_new();
        (void) state;

        assert_int_equal(mkdirat(place.fd, "ledger.bad", 0700), 0);
        assert_int_equal(mkdirat(place.fd, "ledger.bad/full", 0700), 0);
        assert_int_equal(mkdirat(place.fd, "ledger", 0700), 0);
        assert_set_aside(&place, "/ledger is now ledger.bad.1: Is a directory");
        cut(&place, 0);
        assert_set_aside(&place, "/ledger is now ledger.bad.2: it is truncated");

        assert_int_equal(unlinkat(place.fd, "ledger.bad.1", AT_REMOVEDIR), 0);
        assert_int_equal(unlinkat(place.fd, "ledger.bad.2", 0), 0);
        assert_int_equal(unlinkat(place.fd, "ledger.bad/full", AT_REMOVEDIR), 0);
        assert_int_equal(unlinkat(place.fd, "ledger.bad", AT_REMOVEDIR), 0);
}

/* When the file cannot grow, ledger_add() fails and adds nothing, and smaller additions still succeed. */
static void test_full(void **state) {
        _cleanup_(place_done) Place place = place_new();
        _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
        LedgerEntry entry = { .owner = &camera, .heap = "system" };
        LedgerBuffer buffers[10];
        (void) state;

        for (uint64_t i = 1; i <= 250; i++)
                assert_int_equal(add_one(ledger, i, &camera), 0);
        for (size_t i = 0; i < ELEMENTSOF(buffers); i++)
                buffers[i] = (LedgerBuffer) { 1000 + i, 4096 };

        pid_t pid = fork();
        if (pid == 0) {
                struct rlimit limit = { FILE_SIZE_MIN, FILE_SIZE_MIN };

                (void) signal(SIGXFSZ, SIG_IGN);
                if (setrlimit(RLIMIT_FSIZE, &limit) < 0 || ledger_add(ledger, &entry, buffers, 10, NULL) != -EFBIG ||
                                ledger_n_records(ledger) != 250 || ledger_add(ledger, &entry, buffers, 6, NULL) != 0 ||
                                ledger_n_records(ledger) != 256 || add_one(ledger, 5000, &camera) != -EFBIG)
                        _exit(EXIT_FAILURE);
                _exit(EXIT_SUCCESS);
        }

        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS);

        ledger = ledger_free(ledger);
        ledger = open_good(&place);
        assert_int_equal(ledger_n_records(ledger), 256);
}

/* The progress of a child that may be killed at any moment, in memory shared with its parent. */
typedef struct Progress {
        uint64_t added;    /* every inode up to this one was added */
        uint64_t retiring; /* inodes up to this one may be retired */
        uint64_t retired;  /* every inode up to this one is retired */
} Progress;

static _Noreturn void add_and_retire(const Place *place, volatile Progress *progress) {
        LedgerEntry entry = { .owner = &camera, .heap = "system", .label = "frame" };
        Ledger *ledger = open_good(place);
        LedgerBuffer buffers[7];

        for (;;) {
                for (size_t i = 0; i < ELEMENTSOF(buffers); i++)
                        buffers[i] = (LedgerBuffer) { progress->added + i + 1, 4096 };
                if (ledger_add(ledger, &entry, buffers, ELEMENTSOF(buffers), NULL) < 0)
                        _exit(EXIT_FAILURE);
                progress->added += ELEMENTSOF(buffers);

                /* The ledger grows to 600 records, and then shrinks again. */
                if (ledger_n_records(ledger) < 600)
                        continue;
                const uint64_t alive[] = { progress->added - 1, progress->added };
                size_t n_alive = progress->added % 2 * 2;
                progress->retiring = progress->added - n_alive;
                (void) ledger_retire(ledger, alive, n_alive, UINT64_MAX, NULL, NULL);
                progress->retired = progress->retiring;
        }
}

/* Killed 60 times at any moment: all added records are there, no retired one is, and the file is never damaged. */
static void test_killed(void **state) {
        _cleanup_(place_done) Place place = place_new();
        Progress *progress = mmap(NULL, sizeof(*progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        (void) state;

        assert_ptr_not_equal(progress, MAP_FAILED);
        for (unsigned round = 0; round < 60; round++) {
                uint64_t before = progress->added, enough = before + 1 + (unsigned) rand() % 3000;
                int status;

                pid_t pid = fork();
                if (pid == 0)
                        add_and_retire(&place, progress);

                while (*(volatile uint64_t *) &progress->added < enough && waitpid(pid, &status, WNOHANG) == 0)
                        ;
                assert_int_equal(kill(pid, SIGKILL), 0);
                assert_int_equal(waitpid(pid, &status, 0), pid);
                assert_true(WIFSIGNALED(status));

                _cleanup_(ledger_freep) Ledger *ledger = open_good(&place);
                for (uint64_t inode = progress->retiring + 1; inode <= progress->added; inode++)
                        assert_non_null(ledger_find(ledger, inode));
                for (size_t i = 0; i < ledger_n_records(ledger); i++)
                        assert_true(ledger_at(ledger, i)->inode > progress->retired);

                /* The next child must not meet inodes that the last one had begun to add. */
                size_t n = ledger_n_records(ledger);
                if (n > 0)
                        progress->added = MAX(progress->added, ledger_at(ledger, n - 1)->inode);
        }
        assert_int_equal(munmap(progress, sizeof(*progress)), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_roundtrip),
                cmocka_unit_test(test_format),
                cmocka_unit_test(test_string_limits),
                cmocka_unit_test(test_cut_paths),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_withdraw),
                cmocka_unit_test(test_retire),
                cmocka_unit_test(test_capacity),
                cmocka_unit_test(test_without_directory),
                cmocka_unit_test(test_truncated),
                cmocka_unit_test(test_damaged),
                cmocka_unit_test(test_noise),
                cmocka_unit_test(test_other_boot_and_version),
                cmocka_unit_test(test_impossible),
                cmocka_unit_test(test_half_written),
                cmocka_unit_test(test_not_a_file),
                cmocka_unit_test(test_bad_in_the_way),
                cmocka_unit_test(test_full),
                cmocka_unit_test(test_killed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
