/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* What the ledger keeps of a buffer, what it is told of it, and the limits of its format. */

#include <sys/types.h>

#include "limits/identity.h"
#include "util/buffer-limits.h"
#include "util/heap-name.h"
#include "util/macro.h"

/* Limits of the format. Lengths are without the NUL. */
#define LEDGER_RECORDS_MAX 65536U
#define LEDGER_BATCH_MAX BUFFERS_MAX
#define LEDGER_HEAP_MAX HEAP_NAME_MAX
#define LEDGER_LABEL_MAX BUFFER_LABEL_MAX
#define LEDGER_UNIT_MAX 255U

/* The cgroup of buffers found alive whose owner is not known, with uid and user (uid_t) -1. Paths begin with '/'. */
#define LEDGER_UNATTRIBUTED "unattributed"

/* One live buffer. Owned by the ledger, at the same address until it is withdrawn or retired. Callers change nothing
 * of it but userdata. Records of equal owners share one Identity. */
typedef struct LedgerRecord {
        uint64_t inode;
        uint64_t size;
        uint64_t allocated_usec; /* CLOCK_BOOTTIME */
        uint64_t sequence;       /* of the ledger_add() that made it */
        const Identity *owner;
        const char *heap;
        const char *label;   /* or NULL */
        bool kernel_charges; /* the kernel charges the pages to the owner's cgroup */
        void *userdata;      /* the caller's: NULL at first, not in the file */
} LedgerRecord;

typedef struct LedgerBuffer {
        uint64_t inode; /* not 0 */
        uint64_t size;
} LedgerBuffer;

/* The properties of all buffers of one ledger_add(). Everything is borrowed, and copied by it. */
typedef struct LedgerEntry {
        const Identity *owner;
        const char *heap;
        const char *label; /* or NULL */
        uint64_t allocated_usec;
        bool kernel_charges;
} LedgerEntry;
