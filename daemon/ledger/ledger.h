/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The live buffers and their owners, in a file that outlives the daemon. ledger.c opens with the idea, ledger-file.h
 * with the format. */

#include "ledger/ledger-record.h"

typedef struct Ledger Ledger;

/* Opens the ledger in a directory, or creates it.
 *
 * dir_fd: the directory, borrowed. -EBADF creates a ledger in memory only (a memfd), for when the directory's file
 * system is full. boot_id: the 16 bytes of /proc/sys/kernel/random/boot_id. A ledger of another boot is treated as a
 * damaged one, since inode numbers begin anew with each boot. Nothing of a damaged ledger is used. ret_set_aside:
 * NULL if the ledger was good or is the first. Else a clause that the caller logs and frees: why the old file was
 * renamed to ledger.bad, or why it could not be and the new ledger is in memory only. The new ledger is empty then.
 * Returns 0 or -errno, among them -ENOSPC when there is no room for a new ledger. */
int ledger_open(int dir_fd, const uint8_t boot_id[static 16], Ledger **ret, char **ret_set_aside);

/* Frees the records, and leaves the file as it is. Does not look at userdata. */
Ledger *ledger_free(Ledger *ledger);
DEFINE_CLEANUP(Ledger, ledger_free);

/* Records all buffers or none. When it returns, their records are in the file, so that the next start finds them
 * even if the daemon is killed right then.
 *
 * ret_records: room for n_buffers, in the order of buffers; may be NULL. Returns 0; -ENOBUFS when the ledger would
 * hold more than LEDGER_RECORDS_MAX; -ENOSPC or another error of pwrite() or fallocate(); -EEXIST when an inode is
 * recorded already or twice in the batch; -EINVAL for more than LEDGER_BATCH_MAX buffers, inode 0, or a string
 * beyond its limit; -ENOMEM. */
int ledger_add(Ledger *ledger, const LedgerEntry *entry, const LedgerBuffer *buffers, size_t n_buffers,
                LedgerRecord **ret_records);

/* Removes and frees records whose fds have reached no client. An error of the file is not reported: a record that is
 * still in it is retired by the census of the next start. */
void ledger_withdraw(Ledger *ledger, LedgerRecord *const *records, size_t n_records);

/* The number of the last ledger_add(), for ledger_retire(). To be taken before a census begins. */
uint64_t ledger_sequence(const Ledger *ledger);

/* Called for a record that is about to be freed. May not change the ledger. */
typedef void (*ledger_retired_t)(LedgerRecord *record, void *userdata);

/* Removes the records that a complete census did not find: those with a sequence of at most `sequence` whose inode
 * is not among `inodes` (ascending). Younger records may be of buffers that the census came too early for. Returns
 * the number of removed records. */
size_t ledger_retire(Ledger *ledger, const uint64_t *inodes, size_t n_inodes, uint64_t sequence,
                ledger_retired_t on_retired, void *userdata);

/* The record of an inode, or NULL. O(log n). */
LedgerRecord *ledger_find(Ledger *ledger, uint64_t inode);

size_t ledger_n_records(const Ledger *ledger);

/* The record at an index, in the order of inode numbers; NULL from ledger_n_records() on. Every change moves
 * indices. */
LedgerRecord *ledger_at(Ledger *ledger, size_t index);
