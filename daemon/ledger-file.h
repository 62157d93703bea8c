/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The ledger's format on disk and the reading and writing of it; ledger.c keeps the same records in memory.
 *
 * A header of one page, then slots of 1 KiB, so that none crosses a page. Numbers are in the machine's byte order: a ledger
 * is never read by another machine, nor after a reboot. A slot whose inode is 0 is free, whatever else is in it. A record is
 * written in two steps, everything else first and then the inode, 8 aligned bytes that are there or are not: a daemon killed
 * at any moment leaves no half record. So whatever does not check out was not done by us, and the file is not believed. */

#include "ledger.h"

#define LEDGER_FILE_NAME "ledger"
#define LEDGER_FILE_MAGIC "dmaheapd"
#define LEDGER_FILE_VERSION 1U
#define LEDGER_FILE_HEADER_SIZE 4096U
#define LEDGER_FILE_SLOT_SIZE 1024U

/* Slots are made by as many at a time: 256 KiB. */
#define LEDGER_FILE_STEP 256U

typedef struct LedgerFileHeader {
        char magic[8];
        uint32_t version;
        uint32_t slot_size;
        uint8_t boot_id[16];
        uint64_t checksum; /* of everything before it */
        uint32_t n_slots;  /* the file is no shorter than that; written in one with its complement */
        uint32_t n_slots_complement;
} LedgerFileHeader;

/* Strings are in the order heap, label, unit, cgroup, without NUL; the lengths say which bytes are whose. */
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

enum {
        LEDGER_FILE_KERNEL_CHARGES = 1 << 0,
        LEDGER_FILE_HAS_LABEL = 1 << 1,
        LEDGER_FILE_HAS_UNIT = 1 << 2,
        LEDGER_FILE_UNIT_IS_USER = 1 << 3,
        _LEDGER_FILE_FLAGS = (1 << 4) - 1,
};

/* Fills a slot from a record, checksum included; cuts the cgroup's path at the front where it does not fit. */
void ledger_file_encode(const LedgerRecord *record, LedgerFileSlot *ret);

/* Says what is wrong with a slot that is not free, or NULL. */
const char *ledger_file_check(const LedgerFileSlot *slot);

/* Gives a slot the checksum it should have; for tests and fuzzers that make their own, as is the other. */
void ledger_file_seal(LedgerFileSlot *slot);
uint64_t ledger_file_header_checksum(const LedgerFileHeader *header);

typedef struct LedgerFileStrings {
        char heap[LEDGER_HEAP_MAX + 1];
        char label[LEDGER_LABEL_MAX + 1];
        char unit[LEDGER_UNIT_MAX + 1];
        char cgroup[sizeof(((LedgerFileSlot *) 0)->strings) + 1];
} LedgerFileStrings;

/* What a slot says that has been checked, but for its inode, size and sequence. The outputs point to each other. */
void ledger_file_decode(
                const LedgerFileSlot *slot, LedgerFileStrings *ret_strings, Identity *ret_owner, LedgerEntry *ret_entry);

/* Opens the ledger of a directory and looks at its header and size, not at its slots.
 *
 * ret_problem: NULL, or what is wrong with it (allocated); then there is no fd. Returns 0; -ENOENT when there is none;
 * -ENOMEM. */
int ledger_file_open(
                int dir_fd, const uint8_t boot_id[static 16], uint32_t *ret_n_slots, int *ret_fd, char **ret_problem);

/* Makes a new ledger of LEDGER_FILE_STEP free slots, which appears under its name when it is whole; with a dir_fd of -EBADF
 * one without a name. */
int ledger_file_create(int dir_fd, const uint8_t boot_id[static 16], uint32_t *ret_n_slots, int *ret_fd);

/* Renames the ledger to ledger.bad, over one that may be there, or, if that cannot be, to the first of ledger.bad.1 to .9 that
 * can. ret_message: what was done and why. Returns 1, or 0 if it could not be moved (a mount point, say). */
int ledger_file_set_aside(int dir_fd, const char *problem, char **ret_message);

/* Lengthens the file to n_slots, a multiple of LEDGER_FILE_STEP. Everything it will need is allocated now: later writes do not meet a full file system. */
int ledger_file_grow(int fd, uint32_t n_slots);

/* Shortens the file to n_slots. The slots given up must be free. */
int ledger_file_shrink(int fd, uint32_t n_slots);

int ledger_file_read_slot(int fd, uint32_t index, LedgerFileSlot *ret);

/* Writes everything but the inode; the slot stays free. */
int ledger_file_write_body(int fd, uint32_t index, const LedgerFileSlot *slot);

/* Writes the inode, 0 to free the slot. */
int ledger_file_write_inode(int fd, uint32_t index, uint64_t inode);

/* Which slots are in use. All zeroes: none, of none. */
typedef struct LedgerSlots {
        uint32_t n; /* the file has so many */
        uint64_t used[LEDGER_RECORDS_MAX / 64];
} LedgerSlots;

void ledger_slots_set(LedgerSlots *slots, uint32_t index, bool used);

/* The first free one from `index` on, or n. */
uint32_t ledger_slots_find_free(const LedgerSlots *slots, uint32_t index);

/* Forgets all from n on, a multiple of 64. */
void ledger_slots_cut(LedgerSlots *slots, uint32_t n);
