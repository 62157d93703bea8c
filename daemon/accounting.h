/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "census.h"
#include "client.h"
#include "config.h"
#include "heap.h"
#include "ledger.h"
#include "rounds.h"

/* Who holds what: the ledger, the census that ends its records, and the charges of both against clients, users, heaps and
 * the system. accounting.c opens with the idea. */
typedef struct Accounting Accounting;

/* What heaps of one region have in common; a heap without one has a budget of its own. */
typedef struct Budget Budget;
struct Budget {
        Budget *next;
        char *name;           /* of the region, or of the heap */
        char *heap;           /* the heap by which it was first used, for reports */
        QuotaAccount total;
        QuotaAccount others;  /* of those without a part in the reserve */
};

/* Bytes and buffers held for a request that is not allocated yet. All zeroes is empty. */
typedef struct Reservation {
        QuotaCharge charge;
        CgroupIds cgroup_ids;
        uint64_t cgroup_bytes;
        Client *client;
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

/* Whether this peer may use the heap at all. */
bool accounting_may_use(const Accounting *accounting, const Peer *peer, const char *heap);

/* Holds n_buffers of size bytes against everybody concerned, or against nobody.
 *
 * ret: must be empty. Returns 0; -EDQUOT with *ret_refusal; -ENOENT when the client's control group is gone; -ENOMEM. */
int accounting_reserve(Accounting *accounting, const Peer *peer, Client *client, const char *heap, uint64_t size,
                       uint32_t n_buffers, Reservation *ret, AccountingRefusal *ret_refusal);

/* Gives a reservation back; one that is empty is left alone. */
void accounting_release(Accounting *accounting, Reservation *reservation);

/* The buffers exist: records them in the ledger, and moves the reservation to them. Everything of it must be used.
 * Returns 0; or -errno of ledger_add(): then the reservation is as it was. */
int accounting_record(Accounting *accounting, Reservation *reservation, const Peer *peer, const char *heap,
                      const char *label, const LedgerBuffer *buffers, uint32_t n_buffers);

/* The buffers just recorded have reached nobody. */
void accounting_withdraw(Accounting *accounting, const LedgerBuffer *buffers, uint32_t n_buffers);

/* Calls on_done at the end of a census that began after this call; see rounds_wait(). */
int accounting_wait_census(Accounting *accounting, round_done_t on_done, void *userdata, RoundWait **ret);

bool accounting_busy(const Accounting *accounting);

/* Whether anything is reserved that is not a buffer yet. */
bool accounting_in_flight(const Accounting *accounting);

/* The limits that hold for a client, without regard to a heap (NULL) or of one. */
void accounting_limits(const Accounting *accounting, const Client *client, const Peer *peer, const char *heap,
                       PolicyLimits *ret);

/* Bytes that the peer's control group can still take; MEMORY_INFINITY where nothing bounds it. */
int accounting_headroom(const Accounting *accounting, const Peer *peer, uint64_t *ret);

Ledger *accounting_ledger(Accounting *accounting);
