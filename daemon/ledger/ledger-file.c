/* SPDX-License-Identifier: GPL-2.0-only */

/* Reads and writes the ledger's file; ledger-file.h describes its format. A slot's inode is the last part of it to
 * be written, and n_slots never exceeds the slots that are allocated, so the file is valid after each single write.
 * Nothing in a file is used before it has been checked: any process of root's may have written it. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ledger/ledger-file.h"
#include "util/fd-util.h"
#include "util/utf8.h"

/* FNV-1a, by words. It finds accidental damage; a forger must be root already to write the file. */
static uint64_t checksum(const void *data, size_t size) {
        const char *p = data;
        uint64_t sum = UINT64_C(0xcbf29ce484222325), word;

        for (size_t i = 0; i + sizeof(word) <= size; i += sizeof(word)) {
                memcpy(&word, p + i, sizeof(word));
                sum = (sum ^ word) * UINT64_C(0x100000001b3);
                sum ^= sum >> 29;
        }
        return sum;
}

static uint64_t slot_checksum(const LedgerFileSlot *slot) {
        LedgerFileSlot copy = *slot;

        copy.checksum = 0;
        return checksum(&copy, sizeof(copy));
}

static off_t slot_offset(uint32_t index) {
        return (off_t) LEDGER_FILE_HEADER_SIZE + (off_t) index * LEDGER_FILE_SLOT_SIZE;
}

void ledger_file_encode(const LedgerRecord *record, LedgerFileSlot *ret) {
        static const char ellipsis[] = "…";
        const Identity *owner = record->owner;
        size_t unit_length = owner->unit ? strlen(owner->unit) : 0;
        size_t label_length = record->label ? strlen(record->label) : 0;

        LedgerFileSlot slot = {
                .inode = record->inode,
                .size = record->size,
                .allocated_usec = record->allocated_usec,
                .sequence = record->sequence,
                .uid = owner->uid,
                .user = owner->user,
                .flags = (record->kernel_charges ? LEDGER_FILE_KERNEL_CHARGES : 0) |
                                (record->label ? LEDGER_FILE_HAS_LABEL : 0) | (owner->unit ? LEDGER_FILE_HAS_UNIT : 0) |
                                (owner->unit_is_user ? LEDGER_FILE_UNIT_IS_USER : 0),
                .n_cgroup_ids = owner->cgroup_ids.n,
                .heap_length = strlen(record->heap),
                .label_length = label_length,
                .unit_length = unit_length,
        };
        memcpy(slot.cgroup_ids, owner->cgroup_ids.ids, owner->cgroup_ids.n * sizeof(uint64_t));

        char *p = slot.strings;
        p = mempcpy(p, record->heap, slot.heap_length);
        if (label_length > 0)
                p = mempcpy(p, record->label, label_length);
        if (unit_length > 0)
                p = mempcpy(p, owner->unit, unit_length);

        size_t length = strlen(owner->cgroup), room = slot.strings + sizeof(slot.strings) - p;
        const char *cgroup = owner->cgroup;
        slot.cgroup_length = MIN(length, room);
        if (length > room) {
                p = mempcpy(p, ellipsis, strlen(ellipsis));
                cgroup = utf8_next_character(cgroup + length - (room - strlen(ellipsis)));
                length = strlen(cgroup);
                slot.cgroup_length = strlen(ellipsis) + length;
        }
        memcpy(p, cgroup, length);

        ledger_file_seal(&slot);
        *ret = slot;
}

void ledger_file_seal(LedgerFileSlot *slot) {
        slot->checksum = slot_checksum(slot);
}

uint64_t ledger_file_header_checksum(const LedgerFileHeader *header) {
        return checksum(header, offsetof(LedgerFileHeader, checksum));
}

const char *ledger_file_check(const LedgerFileSlot *slot) {
        if (slot->checksum != slot_checksum(slot))
                return "its checksum is wrong";

        size_t length = (size_t) slot->heap_length + slot->label_length + slot->unit_length + slot->cgroup_length;
        if ((slot->flags & ~_LEDGER_FILE_FLAGS) != 0 || slot->n_cgroup_ids > CGROUP_IDS_MAX || slot->heap_length == 0 ||
                        slot->heap_length > LEDGER_HEAP_MAX || slot->label_length > LEDGER_LABEL_MAX ||
                        slot->cgroup_length == 0 || length > sizeof(slot->strings))
                return "it holds what no record can hold";

        for (size_t i = 0; i < slot->n_cgroup_ids; i++)
                if (slot->cgroup_ids[i] == 0)
                        return "it holds what no record can hold";

        if (memchr(slot->strings, 0, length))
                return "it holds what no record can hold";

        return NULL;
}

static const char *take_string(const char *from, size_t length, char *to) {
        memcpy(to, from, length);
        to[length] = 0;
        return from + length;
}

void ledger_file_decode(const LedgerFileSlot *slot, LedgerFileStrings *ret_strings, Identity *ret_owner,
                LedgerEntry *ret_entry) {

        const char *p = slot->strings;

        p = take_string(p, slot->heap_length, ret_strings->heap);
        p = take_string(p, slot->label_length, ret_strings->label);
        p = take_string(p, slot->unit_length, ret_strings->unit);
        (void) take_string(p, slot->cgroup_length, ret_strings->cgroup);

        *ret_owner = (Identity) {
                .unit = slot->flags & LEDGER_FILE_HAS_UNIT ? ret_strings->unit : NULL,
                .unit_is_user = slot->flags & LEDGER_FILE_UNIT_IS_USER,
                .cgroup = ret_strings->cgroup,
                .cgroup_ids.n = slot->n_cgroup_ids,
                .uid = slot->uid,
                .user = slot->user,
        };
        memcpy(ret_owner->cgroup_ids.ids, slot->cgroup_ids, slot->n_cgroup_ids * sizeof(uint64_t));

        *ret_entry = (LedgerEntry) {
                .owner = ret_owner,
                .heap = ret_strings->heap,
                .label = slot->flags & LEDGER_FILE_HAS_LABEL ? ret_strings->label : NULL,
                .allocated_usec = slot->allocated_usec,
                .kernel_charges = slot->flags & LEDGER_FILE_KERNEL_CHARGES,
        };
}

static int write_n_slots(int fd, uint32_t n_slots) {
        _Static_assert(offsetof(LedgerFileHeader, n_slots) % 8 == 0, "n_slots and its complement are one aligned word");
        const uint32_t pair[2] = { n_slots, ~n_slots };

        return pwrite_all(fd, pair, sizeof(pair), offsetof(LedgerFileHeader, n_slots));
}

int ledger_file_grow(int fd, uint32_t n_slots) {
        int r;

        do
                r = fallocate(fd, 0, 0, slot_offset(n_slots)) < 0 ? -errno : 0;
        while (r == -EINTR);
        if (r < 0)
                return r;

        return write_n_slots(fd, n_slots);
}

int ledger_file_shrink(int fd, uint32_t n_slots) {
        int r = write_n_slots(fd, n_slots);
        if (r < 0)
                return r;

        return ftruncate(fd, slot_offset(n_slots)) < 0 ? -errno : 0;
}

int ledger_file_read_slot(int fd, uint32_t index, LedgerFileSlot *ret) {
        return pread_all(fd, ret, sizeof(*ret), slot_offset(index));
}

int ledger_file_write_body(int fd, uint32_t index, const LedgerFileSlot *slot) {
        size_t skip = sizeof(slot->inode);

        return pwrite_all(fd, (const char *) slot + skip, sizeof(*slot) - skip, slot_offset(index) + skip);
}

int ledger_file_write_inode(int fd, uint32_t index, uint64_t inode) {
        return pwrite_all(fd, &inode, sizeof(inode), slot_offset(index));
}

static int format(int fd, const uint8_t boot_id[static 16]) {
        LedgerFileHeader header = {
                .version = LEDGER_FILE_VERSION,
                .slot_size = LEDGER_FILE_SLOT_SIZE,
        };
        memcpy(header.magic, LEDGER_FILE_MAGIC, sizeof(header.magic));
        memcpy(header.boot_id, boot_id, sizeof(header.boot_id));
        header.checksum = ledger_file_header_checksum(&header);

        int r = ledger_file_grow(fd, LEDGER_FILE_STEP);
        if (r < 0)
                return r;

        return pwrite_all(fd, &header, offsetof(LedgerFileHeader, n_slots), 0);
}

static const char *check_header(int fd, const uint8_t boot_id[static 16], uint32_t *ret_n_slots) {
        LedgerFileHeader header;
        struct stat st;

        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
                return "it is not a regular file";

        int r = pread_all(fd, &header, sizeof(header), 0);
        if (r == -ENODATA)
                return "it is truncated";
        if (r < 0)
                return strerror(-r);

        if (memcmp(header.magic, LEDGER_FILE_MAGIC, sizeof(header.magic)) != 0)
                return "it is no ledger";
        if (header.checksum != ledger_file_header_checksum(&header))
                return "the checksum of its header is wrong";
        if (header.version != LEDGER_FILE_VERSION || header.slot_size != LEDGER_FILE_SLOT_SIZE)
                return "it is of another version";
        if (memcmp(header.boot_id, boot_id, sizeof(header.boot_id)) != 0)
                return "it is of another boot";

        /* A daemon that was killed while the file grew or shrank leaves it longer than that. */
        off_t size = slot_offset(header.n_slots);
        if (header.n_slots != ~header.n_slots_complement || header.n_slots % LEDGER_FILE_STEP != 0 ||
                        header.n_slots == 0 || header.n_slots > LEDGER_RECORDS_MAX)
                return "its header holds what no header can hold";
        if (st.st_size < size)
                return "it is truncated";

        *ret_n_slots = header.n_slots;
        return NULL;
}

int ledger_file_open(
                int dir_fd, const uint8_t boot_id[static 16], uint32_t *ret_n_slots, int *ret_fd, char **ret_problem) {

        const char *problem;

        /* Anything may have that name: opening a FIFO must not block, and a link must not lead out of the directory. */
        _cleanup_close_ int fd =
                        openat(dir_fd, LEDGER_FILE_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0) {
                if (errno == ENOENT)
                        return -ENOENT;
                problem = strerror(errno);
        } else
                problem = check_header(fd, boot_id, ret_n_slots);

        if (problem) {
                char *copy = strdup(problem);
                if (!copy)
                        return -ENOMEM;

                *ret_problem = copy;
                return 0;
        }

        *ret_fd = TAKE_FD(fd);
        return 0;
}

int ledger_file_create(int dir_fd, const uint8_t boot_id[static 16], uint32_t *ret_n_slots, int *ret_fd) {
        static const char new_name[] = LEDGER_FILE_NAME ".new";

        _cleanup_close_ int fd = dir_fd < 0 ?
                        memfd_create("dmaheapd-ledger", MFD_CLOEXEC) :
                        openat(dir_fd, new_name, O_RDWR | O_CLOEXEC | O_CREAT | O_TRUNC | O_NOFOLLOW | O_NOCTTY, 0600);
        if (fd < 0)
                return -errno;

        int r = format(fd, boot_id);
        if (r >= 0 && dir_fd >= 0 && renameat(dir_fd, new_name, dir_fd, LEDGER_FILE_NAME) < 0)
                r = -errno;
        if (r < 0) {
                if (dir_fd >= 0)
                        (void) unlinkat(dir_fd, new_name, 0);
                return r;
        }

        *ret_n_slots = LEDGER_FILE_STEP;
        *ret_fd = TAKE_FD(fd);
        return 0;
}

int ledger_file_set_aside(int dir_fd, const char *problem, char **ret_message) {
        _cleanup_free_ char *directory = NULL;
        char name[] = LEDGER_FILE_NAME ".bad.9";
        int r = 0;

        /* rename() replaces an older file, but not, for instance, a directory that is not empty. */
        for (unsigned i = 0; i < 10; i++) {
                (void) snprintf(name, sizeof(name), i == 0 ? LEDGER_FILE_NAME ".bad" : LEDGER_FILE_NAME ".bad.%u", i);
                r = renameat(dir_fd, LEDGER_FILE_NAME, dir_fd, name) < 0 ? -errno : 0;
                if (r >= 0)
                        break;
        }

        (void) fd_get_path(dir_fd, &directory);
        int n = r >= 0 ? asprintf(ret_message,
                                         "%s/" LEDGER_FILE_NAME " is now %s: %s",
                                         directory ?: ".",
                                         name,
                                         problem) :
                         asprintf(ret_message,
                                         "%s/" LEDGER_FILE_NAME " can neither be used (%s) nor set aside (%s), "
                                         "so the ledger is kept in memory",
                                         directory ?: ".",
                                         problem,
                                         strerror(-r));
        if (n < 0)
                return -ENOMEM;
        return r >= 0;
}

void ledger_slots_set(LedgerSlots *slots, uint32_t index, bool used) {
        uint64_t bit = UINT64_C(1) << (index % 64);

        if (used)
                slots->used[index / 64] |= bit;
        else
                slots->used[index / 64] &= ~bit;
}

uint32_t ledger_slots_find_free(const LedgerSlots *slots, uint32_t index) {
        while (index < slots->n) {
                uint64_t free_bits = ~slots->used[index / 64] >> (index % 64);

                if (free_bits != 0)
                        return index + __builtin_ctzll(free_bits);
                index = (index / 64 + 1) * 64;
        }

        return slots->n;
}

void ledger_slots_cut(LedgerSlots *slots, uint32_t n) {
        slots->n = n;
        memset(slots->used + n / 64, 0, sizeof(slots->used) - n / 64 * sizeof(uint64_t));
}
