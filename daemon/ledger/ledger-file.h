/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The format of the ledger's file, its reading and its writing. ledger.c keeps the same records in memory.
 *
 * The file is a header of one page, then slots of 1 KiB, so that no slot crosses a page. Numbers are in the
 * machine's byte order: a ledger is not read by another machine, or after a reboot. A slot whose inode is 0 is free,
 * whatever else it holds. A record is written in two steps: first everything but the inode, then the inode, which is
 * 8 aligned bytes and so is written whole or not at all. A daemon killed at any moment leaves no partial record, so
 * a slot that fails ledger_file_check() was damaged by something else, and nothing of such a file is used. */

#include "ledger/ledger-record.h"

#define LEDGER_FILE_NAME "ledger"
#define LEDGER_FILE_MAGIC "dmaheapd"
#define LEDGER_FILE_VERSION 1U
#define LEDGER_FILE_HEADER_SIZE 4096U
#define LEDGER_FILE_SLOT_SIZE 1024U

/* The file grows by as many slots at a time: 256 KiB. */
#define LEDGER_FILE_STEP 256U

typedef struct LedgerFileHeader {
        char magic[8];
        uint32_t version;
        uint32_t slot_size;
        uint8_t boot_id[16];
        uint64_t checksum; /* of all members before it */
        uint32_t n_slots;  /* the file has at least as many; written in one word with its complement */
        uint32_t n_slots_complement;
} LedgerFileHeader;

/* The strings follow each other in the order heap, label, unit, cgroup, without NUL. */
typedef struct LedgerFileSlot {
        uint64_t inode;
        uint64_t checksum; /* of the slot with this field 0 */
        uint64_t size;
        uint64_t allocated_usec;
        uint64_t sequence;
        uint32_t uid;
        uint32_t user;
        uint32_t flags;
        uint16_t cgroup_length;
        uint8_t n_cgroup_ids;
        uint8_t heap_length;
        uint8_t label_length;
        uint8_t unit_length;
        uint8_t reserved[6];
        uint64_t cgroup_ids[CGROUP_IDS_MAX];
        char strings[LEDGER_FILE_SLOT_SIZE - 64 - CGROUP_IDS_MAX * 8];
} LedgerFileSlot;

_Static_assert(sizeof(LedgerFileSlot) == LEDGER_FILE_SLOT_SIZE, "slots do not cross pages");
_Static_assert(sizeof(LedgerFileHeader) <= LEDGER_FILE_HEADER_SIZE, "the header has a page of its own");
_Static_assert(LEDGER_HEAP_MAX <= UINT8_MAX && LEDGER_LABEL_MAX <= UINT8_MAX && LEDGER_UNIT_MAX <= UINT8_MAX,
                "lengths of strings are stored in a byte");
_Static_assert(LEDGER_HEAP_MAX + LEDGER_LABEL_MAX + LEDGER_UNIT_MAX + 256 <= sizeof(((LedgerFileSlot *) 0)->strings),
                "there is room for the end of the cgroup's path");
_Static_assert(sizeof(LEDGER_FILE_MAGIC) - 1 == sizeof(((LedgerFileHeader *) 0)->magic),
                "the magic is stored without NUL");

enum {
        LEDGER_FILE_KERNEL_CHARGES = 1 << 0,
        LEDGER_FILE_HAS_LABEL = 1 << 1,
        LEDGER_FILE_HAS_UNIT = 1 << 2,
        LEDGER_FILE_UNIT_IS_USER = 1 << 3,
        _LEDGER_FILE_FLAGS = (1 << 4) - 1,
};

/* Fills a slot from a record, with its checksum. A cgroup's path that does not fit is cut at the front, with "…". */
void ledger_file_encode(const LedgerRecord *record, LedgerFileSlot *ret);

/* Returns what is wrong with a slot that is not free, a static string, or NULL. */
const char *ledger_file_check(const LedgerFileSlot *slot);

/* Sets the checksum of a slot; computes that of a header. Exported for tests and fuzzers that make their own files. */
void ledger_file_seal(LedgerFileSlot *slot);
uint64_t ledger_file_header_checksum(const LedgerFileHeader *header);

typedef struct LedgerFileStrings {
        char heap[LEDGER_HEAP_MAX + 1];
        char label[LEDGER_LABEL_MAX + 1];
        char unit[LEDGER_UNIT_MAX + 1];
        char cgroup[sizeof(((LedgerFileSlot *) 0)->strings) + 1];
} LedgerFileStrings;

/* Reads all of a checked slot but inode, size and sequence. ret_owner and ret_entry point into ret_strings and
 * ret_owner. */
void ledger_file_decode(const LedgerFileSlot *slot, LedgerFileStrings *ret_strings, Identity *ret_owner,
                LedgerEntry *ret_entry);

/* Opens the ledger of a directory, and checks its header and size but no slots.
 *
 * ret_problem: set if it cannot be used, to a text that the caller frees; then no other output is. Returns 0;
 * -ENOENT when there is no ledger; -ENOMEM. */
int ledger_file_open(
                int dir_fd, const uint8_t boot_id[static 16], uint32_t *ret_n_slots, int *ret_fd, char **ret_problem);

/* Creates a ledger of LEDGER_FILE_STEP free slots. It gets its name only when it is complete; with a dir_fd of
 * -EBADF it is a memfd. Returns 0 or -errno. */
int ledger_file_create(int dir_fd, const uint8_t boot_id[static 16], uint32_t *ret_n_slots, int *ret_fd);

/* Renames the ledger to ledger.bad, replacing an older one, or to the first of ledger.bad.1 to .9 that can be
 * replaced. ret_message: what was done and why; the caller frees it. Returns 1; 0 if the file could not be renamed,
 * such as a mount point; or -ENOMEM. */
int ledger_file_set_aside(int dir_fd, const char *problem, char **ret_message);

/* Lengthens the file to n_slots, a multiple of LEDGER_FILE_STEP, and allocates all its blocks, so that a write to a
 * slot does not fail because the file system is full. */
int ledger_file_grow(int fd, uint32_t n_slots);

/* Shortens the file to n_slots. The slots behind them must be free. */
int ledger_file_shrink(int fd, uint32_t n_slots);

int ledger_file_read_slot(int fd, uint32_t index, LedgerFileSlot *ret);

/* Writes everything but the inode; the slot stays free. */
int ledger_file_write_body(int fd, uint32_t index, const LedgerFileSlot *slot);

/* Writes the inode, 0 to free the slot. */
int ledger_file_write_inode(int fd, uint32_t index, uint64_t inode);

/* Which slots are in use. All zeroes is a file without slots. */
typedef struct LedgerSlots {
        uint32_t n; /* slots of the file */
        uint64_t used[LEDGER_RECORDS_MAX / 64];
} LedgerSlots;

void ledger_slots_set(LedgerSlots *slots, uint32_t index, bool used);

/* The first free slot from `index` on, or n. */
uint32_t ledger_slots_find_free(const LedgerSlots *slots, uint32_t index);

/* Drops all slots from n on, a multiple of 64. */
void ledger_slots_cut(LedgerSlots *slots, uint32_t n);
