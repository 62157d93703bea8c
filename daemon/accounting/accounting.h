/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include <systemd/sd-event.h>

#include "clients/client.h"
#include "clients/peer.h"
#include "config/config.h"
#include "heap/heap.h"
#include "ledger/ledger.h"
#include "limits/memory-cgroup.h"
#include "util/rounds.h"

/* The live buffers and reservations, and their charges to clients, users, heaps, control groups and the system.
 * accounting.c opens with the idea. */
typedef struct Accounting Accounting;

/* Bytes and buffers that are charged for a request before they are allocated. All zeroes is empty. */
typedef struct Reservation {
        QuotaCharge charge;
        CgroupIds cgroup_ids; /* whose sums include cgroup_bytes */
        uint64_t cgroup_bytes;
        Client *client;
        Heap *heap;
} Reservation;

/* The limit that refused, with the fields of the interface's QuotaExceeded. */
typedef struct AccountingRefusal {
        QuotaScope scope;
        QuotaResource resource;
        char name[256]; /* of the unit or control group, the uid, or the heap; empty for the system */
        uint64_t limit;
        uint64_t used;
        uint64_t requested;
} AccountingRefusal;

/* Start-up: opens the previous run's ledger, takes a census, and charges the buffers that still live. Blocks for the
 * census. To be called when the heaps are known and nobody is connected.
 *
 * config: points to the manager's pointer to the configuration in force. It and the registries must outlive the
 * accounting. Returns 0, or -errno, logged. */
int accounting_start(sd_event *event, Config *const *config, HeapRegistry *heaps, ClientRegistry *clients,
                int cgroup_root_fd, Accounting **ret);
Accounting *accounting_free(Accounting *accounting);
DEFINE_CLEANUP(Accounting, accounting_free);

/* To be called after a reload: charges each live buffer anew, since its client may have gained or lost a part in a
 * heap's reserve. Limits are not checked. Returns 0 or -ENOMEM. */
int accounting_config_changed(Accounting *accounting);

/* Describes for people how the kernel's buffers are counted, or why they cannot be. The caller frees the text. Returns
 * NULL when out of memory. */
char *accounting_describe_census(const Accounting *accounting);

/* Why nothing may be allocated, a static clause: limits are enforced and no census can be taken. NULL if it may. */
const char *accounting_obstacle(const Accounting *accounting);

/* Whether the rules admit this peer to the heap. heap need not be in the registry: only its name and region are
 * used. */
bool accounting_may_use(const Accounting *accounting, const Peer *peer, const Heap *heap);

/* Charges n_buffers of size bytes each, if all limits have room for them. The quotas are checked first, then the limits
 * of control groups, then the memory of the machine. The first limit that refuses is reported, and nothing is charged.
 *
 * heap: in the registry. ret: must be empty. Returns 0; -EDQUOT with *ret_refusal; -ENOENT when the client's control
 * group is gone; -EOVERFLOW when the sum passes 2^64 - 1; -ENOMEM; or an error of reading the cgroup or meminfo. */
int accounting_reserve(Accounting *accounting, const Peer *peer, Client *client, Heap *heap, uint64_t size,
                uint32_t n_buffers, Reservation *ret, AccountingRefusal *ret_refusal);

/* Gives a reservation back. Does nothing with an empty one. May free the client. */
void accounting_release(Accounting *accounting, Reservation *reservation);

/* Records allocated buffers in the ledger, and moves the reservation's charge to them. They must be as many and as
 * large as was reserved. Returns 0 with the reservation empty; -ENOMEM or an error of ledger_add() with it
 * unchanged. */
int accounting_record(Accounting *accounting, Reservation *reservation, const Peer *peer, const char *label,
                const LedgerBuffer *buffers, uint32_t n_buffers);

/* Removes recorded buffers that no client has received, and their charges. */
void accounting_withdraw(Accounting *accounting, const LedgerBuffer *buffers, uint32_t n_buffers);

/* Calls on_done at the end of a census that began after this call; see rounds_wait(). */
int accounting_wait_census(Accounting *accounting, round_done_t on_done, void *userdata, RoundWait **ret);

/* Whether a census is under way or due. */
bool accounting_busy(const Accounting *accounting);

/* Whether bytes are reserved that are not allocated yet. */
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

/* Goes on to the next heap of which the client holds something. usage: all zeroes before the first. Returns false at
 * the end.
 *
 *         for (HeapUsage usage = {}; accounting_next_usage(accounting, client, &usage);) … */
bool accounting_next_usage(const Accounting *accounting, const Client *client, HeapUsage *usage);

/* Computes how many bytes the peer's control group can still take, as memory_cgroup_headroom(), with the same
 * returns. */
int accounting_headroom(const Accounting *accounting, const Peer *peer, uint64_t *ret);

/* The ledger, to be read. */
Ledger *accounting_ledger(Accounting *accounting);
