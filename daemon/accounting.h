/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "census.h"
#include "client.h"
#include "config.h"
#include "heap.h"
#include "ledger.h"
#include "memory-cgroup.h"
#include "peer.h"
#include "rounds.h"

/* Who holds what: the ledger, the census that ends its records, and the charges of both against clients, users, heaps and
 * the system. accounting.c opens with the idea. */
typedef struct Accounting Accounting;

/* Bytes and buffers held for a request that is not allocated yet. All zeroes is empty. */
typedef struct Reservation {
        QuotaCharge charge;
        CgroupIds cgroup_ids; /* that cgroup_bytes are added to */
        uint64_t cgroup_bytes;
        Client *client;
        Heap *heap;
} Reservation;

/* Which limit was in the way; the fields are those of the interface's QuotaExceeded. */
typedef struct AccountingRefusal {
        QuotaScope scope;
        QuotaResource resource;
        char name[256]; /* empty for the system */
        uint64_t limit;
        uint64_t used;
        uint64_t requested;
} AccountingRefusal;

/* Opens the ledger of the run before, takes a census, for which it waits, and charges what both know of. To be called when the
 * heaps are known and nobody is connected.
 *
 * config: where the manager keeps the configuration in force; it and the registries must outlive this. Returns 0, or
 * -errno, logged. */
int accounting_start(sd_event *event, Config *const *config, HeapRegistry *heaps, ClientRegistry *clients, int cgroup_root_fd,
                     Accounting **ret);
Accounting *accounting_free(Accounting *accounting);
DEFINE_CLEANUP(Accounting, accounting_free);

/* The configuration has been read again: a reserve may have become another's, and what is held counts accordingly. Returns 0
 * or -ENOMEM. */
int accounting_config_changed(Accounting *accounting);

/* How the kernel's buffers are counted, or why they cannot be: a clause for people, which the caller frees. NULL if memory is
 * short. */
char *accounting_describe_census(const Accounting *accounting);

/* NULL if a census can be taken, or limits are not enforced; else why nothing can be handed out. */
const char *accounting_obstacle(const Accounting *accounting);

/* Whether this peer may use the heap at all. heap need not be in the registry; only its name is looked at. */
bool accounting_may_use(const Accounting *accounting, const Peer *peer, const Heap *heap);

/* Holds n_buffers of size bytes each against every limit: the quotas first, then the control groups, then the memory of the
 * machine. The first that is in the way is reported, and nothing is held then.
 *
 * heap: in the registry. ret: must be empty. Returns 0; -EDQUOT with *ret_refusal; -ENOENT when the client's control group
 * is gone; -EOVERFLOW; -ENOMEM. */
int accounting_reserve(Accounting *accounting, const Peer *peer, Client *client, Heap *heap, uint64_t size,
                       uint32_t n_buffers, Reservation *ret, AccountingRefusal *ret_refusal);

/* Gives a reservation back; one that is empty is left alone. */
void accounting_release(Accounting *accounting, Reservation *reservation);

/* The buffers exist: records them in the ledger, and moves the reservation to them. All of it must be used: they are as many
 * and as large as was reserved. Returns 0; or -errno of ledger_add(): then the reservation is as it was. */
int accounting_record(Accounting *accounting, Reservation *reservation, const Peer *peer, const char *label,
                      const LedgerBuffer *buffers, uint32_t n_buffers);

/* The buffers just recorded have reached nobody. */
void accounting_withdraw(Accounting *accounting, const LedgerBuffer *buffers, uint32_t n_buffers);

/* Calls on_done at the end of a census that began after this call; see rounds_wait(). */
int accounting_wait_census(Accounting *accounting, round_done_t on_done, void *userdata, RoundWait **ret);

bool accounting_busy(const Accounting *accounting);

/* Whether anything is reserved that is not a buffer yet. */
bool accounting_in_flight(const Accounting *accounting);

/* The limits that hold for a client without regard to a heap. */
void accounting_limits(const Accounting *accounting, const Client *client, PolicyLimits *ret);

/* What a client holds of the heaps of one region, or of one heap without a region. */
typedef struct HeapUsage {
        const QuotaShare *share; /* where the iteration is; NULL at its beginning */
        const Heap *heap;        /* one of those heaps */
        uint64_t bytes_used;     /* not 0 */
        uint64_t bytes_max;      /* LIMIT_INFINITY for no limit */
} HeapUsage;

/* Goes on to the next heap of which the client holds something. usage: all zeroes before the first. Returns false at the end.
 *
 *         for (HeapUsage usage = {}; accounting_next_usage(accounting, client, &usage);) … */
bool accounting_next_usage(const Accounting *accounting, const Client *client, HeapUsage *usage);

/* Bytes that the peer's control group can still take; MEMORY_INFINITY where nothing bounds it. */
int accounting_headroom(const Accounting *accounting, const Peer *peer, uint64_t *ret);

Ledger *accounting_ledger(Accounting *accounting);
