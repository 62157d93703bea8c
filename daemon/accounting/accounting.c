/* SPDX-License-Identifier: GPL-2.0-only */

/* A buffer is charged from before its allocation until the kernel has freed it. Only the kernel knows when that is, so
 * the daemon asks it by a census. Three things work together here: the ledger records the owner of each live buffer and
 * outlives the daemon; a LiveCharge with each record names the accounts that it is charged to; and a census, taken when
 * a request or a query needs one, ends the records whose buffers it did not find.
 *
 * A request first gets a reservation. It becomes the charges of the buffers, or is given back whole. So at any time the
 * accounts hold exactly the live records and the reservations, and accounting_demands() alone says which accounts.
 *
 * The bytes that no memory controller charges are also summed for each control group, so that they count against
 * memory.max as if the kernel charged them. */

#include <stdio.h>

#include "accounting/accounting-internal.h"
#include "build-config.h"
#include "util/time-util.h"

/* A record is about to go: ends what it paid. */
static void on_record_gone(LedgerRecord *record, void *userdata) {
        Accounting *accounting = userdata;
        LiveCharge *live = TAKE_PTR(record->userdata);

        if (!live)
                return;

        quota_uncharge(&live->charge);
        cgroup_bytes_subtract(accounting->cgroup_bytes, &record->owner->cgroup_ids, live->cgroup_bytes);
        live->heap->bytes_used -= record->size;
        if (live->client)
                client_registry_release(accounting->clients, live->client);
        free(live);
}

Accounting *accounting_free(Accounting *accounting) {
        if (!accounting)
                return NULL;

        census_rounds_free(accounting->census_rounds);
        census_free(accounting->census);

        for (size_t i = 0; accounting->ledger && i < ledger_n_records(accounting->ledger); i++)
                on_record_gone(ledger_at(accounting->ledger, i), accounting);
        ledger_free(accounting->ledger);

        quota_account_done(&accounting->system);
        budget_registry_done(&accounting->budgets);
        cgroup_bytes_free(accounting->cgroup_bytes);
        free(accounting);
        return NULL;
}

int accounting_demands(Accounting *accounting, Client *client, const Heap *heap, Demands *ret) {
        PolicyLimits limits;
        QuotaShare *share;
        Budget *budget;
        int r;

        if (!client) {
                const QuotaDemand system = {
                        QUOTA_SCOPE_SYSTEM,
                        NULL,
                        &accounting->system,
                        LIMIT_INFINITY,
                        LIMIT_INFINITY,
                };

                *ret = (Demands) { .demands = { system }, .n = 1 };
                return 0;
        }

        r = budget_registry_get(&accounting->budgets, heap, &budget);
        if (r >= 0)
                r = quota_shares_get(&client->shares, budget, &share);
        if (r < 0)
                return r;

        rules_limits(&accounting->rules, client, heap, &limits);

        *ret = (Demands) {
                .demands = {
                        { QUOTA_SCOPE_CLIENT, NULL, &client->account, limits.client_bytes, limits.client_buffers },
                        { QUOTA_SCOPE_USER, NULL, &client->user->account, limits.user_bytes, LIMIT_INFINITY },
                        { QUOTA_SCOPE_HEAP, heap->name, &share->account, limits.heap_client_bytes, LIMIT_INFINITY },
                        { QUOTA_SCOPE_HEAP, heap->name, &budget->total, limits.heap_bytes, LIMIT_INFINITY },
                        { QUOTA_SCOPE_SYSTEM, NULL, &accounting->system, limits.system_bytes, LIMIT_INFINITY },
                        { QUOTA_SCOPE_HEAP, heap->name, &budget->others, limits.heap_others_bytes, LIMIT_INFINITY },
                },
                .n = limits.heap_has_reserve ? 5 : 6, /* `others` is the last one */
                .keep_available = limits.keep_available,
        };
        return 0;
}

void accounting_limits(const Accounting *accounting, const Client *client, PolicyLimits *ret) {
        rules_limits(&accounting->rules, client, NULL, ret);
}

bool accounting_next_usage(const Accounting *accounting, const Client *client, HeapUsage *usage) {
        const QuotaShare *share = usage->share ? usage->share->next : client->shares.first;
        PolicyLimits limits;

        while (share && share->account.bytes == 0)
                share = share->next;
        if (!share)
                return false;

        const Budget *budget = share->key; /* see accounting_demands() */
        rules_limits(&accounting->rules, client, budget->heap, &limits);

        *usage = (HeapUsage) {
                .share = share,
                .heap = budget->heap,
                .bytes_used = share->account.bytes,
                .bytes_max = limits.heap_client_bytes,
        };
        return true;
}

bool accounting_may_use(const Accounting *accounting, const Peer *peer, const Heap *heap) {
        return rules_may_use(&accounting->rules, peer, heap);
}

const char *accounting_obstacle(const Accounting *accounting) {
        if (!(*accounting->rules.config)->policy.enforce || census_method(accounting->census) != CENSUS_METHOD_NONE)
                return NULL;

        return census_reason(accounting->census);
}

char *accounting_describe_census(const Accounting *accounting) {
        CensusMethod method = census_method(accounting->census);
        bool counted = method != CENSUS_METHOD_NONE;
        const char *what = counted ? "buffers counted by " : "buffers cannot be counted: ";
        const char *how = counted ? census_method_to_string(method) : census_reason(accounting->census);
        char *text;

        return asprintf(&text, "%s%s", what, how) < 0 ? NULL : text;
}

static bool headroom_is_checked(const Accounting *accounting) {
#if ENABLE_TEST_HOOKS
        if (getenv("DMAHEAPD_TEST_NO_HEADROOM"))
                return false;
#endif
        return (*accounting->rules.config)->policy.enforce;
}

_Static_assert(MEMORY_INFINITY == LIMIT_INFINITY, "a headroom is reported as a limit is");

int accounting_headroom(const Accounting *accounting, const Peer *peer, uint64_t *ret) {
        return memory_cgroup_headroom(
                        accounting->cgroup_root_fd, peer->cgroup_fd, cgroup_bytes_get, accounting->cgroup_bytes, ret);
}

/* Checks whether the client's control groups, and then the machine, have room for the bytes. reserved: bytes of other
 * reservations, which MemAvailable still includes. */
static int check_memory(const Accounting *accounting, const Peer *peer, uint64_t keep_available, uint64_t reserved,
                uint64_t bytes, AccountingRefusal *ret_refusal) {
        MemoryCgroupRefusal refusal;
        MemoryInfo info;
        int r;

        if (!headroom_is_checked(accounting))
                return 0;

        r = memory_cgroup_check(accounting->cgroup_root_fd,
                        peer->cgroup_fd,
                        bytes,
                        cgroup_bytes_get,
                        accounting->cgroup_bytes,
                        &refusal);
        if (r == -EDQUOT) {
                *ret_refusal = (AccountingRefusal) {
                        .scope = QUOTA_SCOPE_CGROUP,
                        .limit = refusal.limit,
                        .used = refusal.used,
                        .requested = bytes,
                };
                (void) snprintf(ret_refusal->name, sizeof(ret_refusal->name), "%s", refusal.path);
        }
        if (r < 0)
                return r;

        r = memory_info_read(accounting->meminfo, &info);
        if (r < 0)
                return r;

        *ret_refusal = (AccountingRefusal) { .scope = QUOTA_SCOPE_SYSTEM, .requested = bytes };
        return memory_info_check(&info, keep_available, reserved, bytes, &ret_refusal->limit, &ret_refusal->used);
}

static void fill_refusal(const QuotaRefusal *refusal, const Client *client, AccountingRefusal *ret) {
        *ret = (AccountingRefusal) {
                .scope = refusal->scope,
                .resource = refusal->resource,
                .limit = refusal->limit,
                .used = refusal->used,
                .requested = refusal->requested,
        };

        if (refusal->scope == QUOTA_SCOPE_CLIENT)
                (void) snprintf(ret->name, sizeof(ret->name), "%s", client->identity.unit ?: client->identity.cgroup);
        else if (refusal->scope == QUOTA_SCOPE_USER)
                (void) snprintf(ret->name, sizeof(ret->name), "%u", client->user->uid);
        else if (refusal->name)
                (void) snprintf(ret->name, sizeof(ret->name), "%s", refusal->name);
}

int accounting_reserve(Accounting *accounting, const Peer *peer, Client *client, Heap *heap, uint64_t size,
                uint32_t n_buffers, Reservation *ret, AccountingRefusal *ret_refusal) {
        uint64_t reserved_before = accounting->system.reserved_bytes, bytes;
        QuotaRefusal refusal;
        Demands demands;
        int r;

        r = quota_multiply(size, n_buffers, &bytes);
        if (r >= 0)
                r = accounting_demands(accounting, client, heap, &demands);
        if (r < 0)
                return r;

        r = quota_reserve(&ret->charge, demands.demands, demands.n, bytes, n_buffers, &refusal);
        if (r < 0) {
                fill_refusal(&refusal, client, ret_refusal);
                return r;
        }

        r = check_memory(accounting, peer, demands.keep_available, reserved_before, bytes, ret_refusal);
        if (r >= 0)
                r = cgroup_bytes_add(accounting->cgroup_bytes, &peer->identity.cgroup_ids, bytes);
        if (r < 0) {
                quota_uncharge(&ret->charge);
                return r;
        }

        ret->cgroup_ids = peer->identity.cgroup_ids;
        ret->cgroup_bytes = bytes;
        ret->client = client;
        ret->heap = heap;
        return 0;
}

void accounting_release(Accounting *accounting, Reservation *reservation) {
        if (!reservation->client)
                return;

        quota_uncharge(&reservation->charge);
        cgroup_bytes_subtract(accounting->cgroup_bytes, &reservation->cgroup_ids, reservation->cgroup_bytes);
        client_registry_release(accounting->clients, reservation->client);
        *reservation = (Reservation) {};
}

static void free_lives(LiveCharge **lives, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(lives[i]);
}

static int make_lives(LiveCharge **lives, size_t n) {
        for (size_t i = 0; i < n; i++) {
                lives[i] = calloc(1, sizeof(LiveCharge));
                if (!lives[i]) {
                        free_lives(lives, i);
                        return -ENOMEM;
                }
        }

        return 0;
}

/* Moves the charge of one buffer from a reservation to the buffer's record. */
static void charge_record(Accounting *accounting, Reservation *reservation, LedgerRecord *record, LiveCharge *live) {
        live->client = reservation->client;
        live->heap = reservation->heap;
        live->heap->bytes_used += record->size;
        quota_charge_split(&reservation->charge, record->size, &live->charge);

        /* The sums of control groups already include the buffer. */
        if (record->kernel_charges)
                cgroup_bytes_subtract(accounting->cgroup_bytes, &reservation->cgroup_ids, record->size);
        else
                live->cgroup_bytes = record->size;

        record->userdata = live;
}

int accounting_record(Accounting *accounting, Reservation *reservation, const Peer *peer, const char *label,
                const LedgerBuffer *buffers, uint32_t n_buffers) {
        LedgerRecord *records[LEDGER_BATCH_MAX];
        LiveCharge *lives[LEDGER_BATCH_MAX] = {};
        LedgerEntry entry = {
                .owner = &peer->identity,
                .heap = reservation->heap->name,
                .label = label,
                .allocated_usec = now_usec(),
                .kernel_charges = heap_registry_kernel_charges(accounting->heaps, reservation->heap),
        };
        int r;

        r = make_lives(lives, n_buffers);
        if (r < 0)
                return r;

        r = ledger_add(accounting->ledger, &entry, buffers, n_buffers, records);
        if (r < 0) {
                free_lives(lives, n_buffers);
                return r;
        }

        for (size_t i = 0; i < n_buffers; i++)
                charge_record(accounting, reservation, records[i], lives[i]);

        *reservation = (Reservation) {};
        heap_registry_changed(accounting->heaps);
        return 0;
}

void accounting_withdraw(Accounting *accounting, const LedgerBuffer *buffers, uint32_t n_buffers) {
        LedgerRecord *records[LEDGER_BATCH_MAX];
        size_t n = 0;

        for (size_t i = 0; i < n_buffers; i++) {
                LedgerRecord *record = ledger_find(accounting->ledger, buffers[i].inode);
                if (!record)
                        continue;

                on_record_gone(record, accounting);
                records[n++] = record;
        }

        ledger_withdraw(accounting->ledger, records, n);
        heap_registry_changed(accounting->heaps);
}

/* A census finds the buffers that exist when it begins. Records made later must survive it, so it is compared with the
 * ledger's sequence at its beginning. */
uint64_t accounting_on_census_begin(void *userdata) {
        const Accounting *accounting = userdata;

        return ledger_sequence(accounting->ledger);
}

void accounting_on_census(const CensusResult *result, uint64_t sequence, void *userdata) {
        Accounting *accounting = userdata;

        size_t n = ledger_retire(
                        accounting->ledger, result->inodes, result->n_entries, sequence, on_record_gone, accounting);
        if (n > 0)
                heap_registry_changed(accounting->heaps);
}

int accounting_wait_census(Accounting *accounting, round_done_t on_done, void *userdata, RoundWait **ret) {
        return census_rounds_wait(accounting->census_rounds, on_done, userdata, ret);
}

bool accounting_busy(const Accounting *accounting) {
        return census_rounds_busy(accounting->census_rounds);
}

bool accounting_in_flight(const Accounting *accounting) {
        return accounting->system.reserved_bytes > 0;
}

Ledger *accounting_ledger(Accounting *accounting) {
        return accounting->ledger;
}

int accounting_new(const AccountingParts *parts, Accounting **ret) {
        MemoryInfo info;
        int r;

        _cleanup_(accounting_freep) Accounting *accounting = calloc(1, sizeof(Accounting));
        if (!accounting)
                return -ENOMEM;

        r = memory_info_read(parts->meminfo, &info);
        if (r < 0)
                return r;

        accounting->rules = (Rules) { .config = parts->config, .heaps = parts->heaps, .ram = info.total };
        accounting->heaps = parts->heaps;
        accounting->clients = parts->clients;
        accounting->cgroup_root_fd = parts->cgroup_root_fd;
        accounting->meminfo = parts->meminfo;

        accounting->cgroup_bytes = cgroup_bytes_new();
        if (!accounting->cgroup_bytes)
                return -ENOMEM;

        r = census_rounds_new(parts->event,
                        parts->census,
                        accounting_on_census_begin,
                        accounting_on_census,
                        accounting,
                        &accounting->census_rounds);
        if (r < 0)
                return r;

        accounting->census = parts->census;
        accounting->ledger = parts->ledger;
        *ret = TAKE_PTR(accounting);
        return 0;
}
