/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The live buffers and whose they are, in a file that outlives the daemon. ledger.c opens with the idea and the format. */

#include <sys/types.h>

#include "buffer-limits.h"
#include "heap-name.h"
#include "identity.h"
#include "macro.h"

/* Limits of the format. Lengths are without the NUL. */
#define LEDGER_RECORDS_MAX 65536U
#define LEDGER_BATCH_MAX BUFFERS_MAX
#define LEDGER_HEAP_MAX HEAP_NAME_MAX
#define LEDGER_LABEL_MAX BUFFER_LABEL_MAX
#define LEDGER_UNIT_MAX 255U

/* The cgroup of buffers found alive whose owner is not known, with uid and user (uid_t) -1. Paths begin with '/'. */
#define LEDGER_UNATTRIBUTED "unattributed"

/* One live buffer. Owned by the ledger, at the same address until it is withdrawn or retired; to be read only, but for
 * userdata. Records of one owner share the owner. */
typedef struct LedgerRecord {
        uint64_t inode;
        uint64_t size;
        uint64_t allocated_usec; /* CLOCK_BOOTTIME */
        uint64_t sequence;       /* of the ledger_add() that made it */
        const Identity *owner;
        const char *heap;
        const char *label;    /* or NULL */
        bool kernel_charges;  /* the client's memcg pays for the pages */
        void *userdata;       /* the caller's: NULL at first, never stored */
} LedgerRecord;

typedef struct LedgerBuffer {
        uint64_t inode; /* not 0 */
        uint64_t size;
} LedgerBuffer;

/* What is said of the buffers of one ledger_add(). All borrowed, and copied. */
typedef struct LedgerEntry {
        const Identity *owner;
        const char *heap;
        const char *label; /* or NULL */
        uint64_t allocated_usec;
        bool kernel_charges;
} LedgerEntry;

typedef struct Ledger Ledger;

/* Opens the ledger in a directory, or makes it.
 *
 * dir_fd: the directory, read-write, the caller's. -EBADF makes a ledger that lives in this process only (a memfd): for when
 * the directory's file system is full. boot_id: 16 bytes of /proc/sys/kernel/random/boot_id; a ledger of another boot is as
 * bad as a damaged one, as inode numbers begin anew.
 * ret_set_aside: NULL if all is well; else why the old file is now ledger.bad, or why it stays and the ledger lives in this
 * process only (one clause that names the file, the caller's to log and free): the ledger is new and empty then. Nothing of
 * a damaged file is believed.
 * Returns 0 or -errno, among them -ENOSPC when there is no room for a new one. */
int ledger_open(int dir_fd, const uint8_t boot_id[static 16], Ledger **ret, char **ret_set_aside);

/* Closes it; the file stays as it is. Does not look at userdata. */
Ledger *ledger_free(Ledger *ledger);
static inline void ledger_freep(Ledger **ledger) {
        ledger_free(*ledger);
}

/* Records all buffers or none. When it has returned, their records are in the file: a daemon killed the next moment finds
 * them at its next start.
 *
 * ret_records: room for n_buffers, in their order; NULL if not wanted.
 * Returns 0; -ENOBUFS when the ledger would hold more than LEDGER_RECORDS_MAX; -ENOSPC or what else pwrite() and
 * fallocate() say; -EEXIST when an inode is recorded already (twice in the batch included); -EINVAL for more than
 * LEDGER_BATCH_MAX, inode 0, or a string beyond its limit; -ENOMEM. */
int ledger_add(
                Ledger *ledger,
                const LedgerEntry *entry,
                const LedgerBuffer *buffers,
                size_t n_buffers,
                LedgerRecord **ret_records);

/* Takes records back whose fds never reached anybody. The records are freed. An error of the file is not reported: a
 * census retires at the next start what is still there. */
void ledger_withdraw(Ledger *ledger, LedgerRecord *const *records, size_t n_records);

/* The number of the last ledger_add(). To be taken before a census begins. */
uint64_t ledger_sequence(const Ledger *ledger);

/* Called for a record about to be freed; may not change the ledger. */
typedef void (*ledger_retired_t)(LedgerRecord *record, void *userdata);

/* Ends the records that a complete census did not find: those with a sequence of at most `sequence` whose inode is not
 * among `inodes` (ascending). Younger records were perhaps made after the census looked. Returns how many. */
size_t ledger_retire(
                Ledger *ledger,
                const uint64_t *inodes,
                size_t n_inodes,
                uint64_t sequence,
                ledger_retired_t on_retired,
                void *userdata);

/* O(log n); NULL if there is none. */
LedgerRecord *ledger_find(Ledger *ledger, uint64_t inode);

size_t ledger_n_records(const Ledger *ledger);

/* The record at index < ledger_n_records(), in the order of inode numbers. Indices move with every change. */
LedgerRecord *ledger_at(Ledger *ledger, size_t index);

/* Bytes of the file as preallocated. */
uint64_t ledger_file_size(const Ledger *ledger);
