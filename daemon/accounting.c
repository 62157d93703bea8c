/* SPDX-License-Identifier: GPL-2.0-only */

/* A buffer is charged from before its allocation until the kernel has freed it, and the only witness for that is the kernel:
 * a census. So three things go together here. The ledger says whose a living buffer is, and survives us. A charge, kept with
 * each record, says which accounts hold it. And a census, taken when somebody needs to know, ends the records whose buffers
 * it did not find. A request holds a reservation, which becomes the charges of its buffers or is given back whole.
 *
 * Beside the accounts, the bytes that no memory controller charges are summed for each control group, so that they count
 * against memory.max as if it did. */

#include <stdio.h>

#include "accounting-internal.h"
#include "build-config.h"
#include "time-util.h"

void accounting_on_record_gone(LedgerRecord *record, void *userdata) {
        Accounting *accounting = userdata;
        LiveCharge *live = TAKE_PTR(record->userdata);

        if (!live)
                return;

        quota_uncharge(&live->charge);
        if (live->cgroup_bytes > 0)
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
                accounting_on_record_gone(ledger_at(accounting->ledger, i), accounting);
        ledger_free(accounting->ledger);

        quota_account_done(&accounting->system);
        for (Budget *budget = accounting->budgets, *next; budget; budget = next) {
                next = budget->next;
                quota_account_done(&budget->total);
                quota_account_done(&budget->others);
                free(budget->name);
                free(budget->heap);
                free(budget);
        }
        cgroup_bytes_free(accounting->cgroup_bytes);
        free(accounting);
        return NULL;
}

int accounting_get_budget(Accounting *accounting, const char *heap, Budget **ret) {
        const Region *region = heap_registry_region_of(accounting->heaps, heap);
        const char *name = region ? region->name : heap;

        for (Budget *budget = accounting->budgets; budget; budget = budget->next)
                if (streq(budget->name, name)) {
                        *ret = budget;
                        return 0;
                }

        Budget *budget = calloc(1, sizeof(Budget));
        if (!budget)
                return -ENOMEM;

        budget->name = strdup(name);
        budget->heap = strdup(heap);
        if (!budget->name || !budget->heap) {
                free(budget->name);
                free(budget->heap);
                free(budget);
                return -ENOMEM;
        }

        budget->next = accounting->budgets;
        accounting->budgets = budget;
        *ret = budget;
        return 0;
}

void accounting_limits(const Accounting *accounting, const Client *client, const Peer *peer, const char *heap,
                       PolicyLimits *ret) {
        rules_limits(&accounting->rules, client, peer, heap, ret);
}

bool accounting_may_use(const Accounting *accounting, const Peer *peer, const char *heap) {
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
        char *text;

        return asprintf(&text, "%s%s", counted ? "buffers counted by " : "buffers cannot be counted: ",
                        counted ? census_method_to_string(method) : census_reason(accounting->census)) < 0 ? NULL : text;
}

static bool headroom_is_checked(const Accounting *accounting) {
#if ENABLE_TEST_HOOKS
        if (getenv("DMAHEAPD_TEST_NO_HEADROOM"))
                return false;
#endif
        return (*accounting->rules.config)->policy.enforce;
}

int accounting_headroom(const Accounting *accounting, const Peer *peer, uint64_t *ret) {
        return memory_cgroup_headroom(accounting->cgroup_root_fd, peer->cgroup_fd, cgroup_bytes_get, accounting->cgroup_bytes, ret);
}

/* What the accounts cannot know: the client's control groups, and the memory of the machine. */
static int check_memory(Accounting *accounting, const Peer *peer, uint64_t keep_available, uint64_t bytes,
                        AccountingRefusal *ret_refusal) {
        MemoryCgroupRefusal refusal;
        MemoryInfo info;
        int r;

        if (!headroom_is_checked(accounting))
                return 0;

        r = memory_cgroup_check(accounting->cgroup_root_fd, peer->cgroup_fd, bytes, cgroup_bytes_get, accounting->cgroup_bytes,
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
        return memory_info_check(&info, keep_available, accounting->system.reserved_bytes, bytes,
                                 &ret_refusal->limit, &ret_refusal->used);
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
                (void) snprintf(ret->name, sizeof(ret->name), "%s", client->unit ? client->unit : client->cgroup);
        else if (refusal->scope == QUOTA_SCOPE_USER)
                (void) snprintf(ret->name, sizeof(ret->name), "%u", client->user->uid);
        else if (refusal->name)
                (void) snprintf(ret->name, sizeof(ret->name), "%s", refusal->name);
}

int accounting_reserve(Accounting *accounting, const Peer *peer, Client *client, const char *heap, uint64_t size,
                       uint32_t n_buffers, Reservation *ret, AccountingRefusal *ret_refusal) {
        PolicyLimits limits;
        QuotaRefusal refusal;
        QuotaShare *share;
        Budget *budget;
        uint64_t bytes;
        int r;

        r = quota_multiply(size, n_buffers, &bytes);
        if (r < 0)
                return r;

        r = accounting_get_budget(accounting, heap, &budget);
        if (r >= 0)
                r = quota_shares_get(&client->shares, budget, &share);
        if (r < 0)
                return r;

        accounting_limits(accounting, client, peer, heap, &limits);

        QuotaDemand demands[QUOTA_ACCOUNTS_MAX] = {
                { QUOTA_SCOPE_CLIENT, NULL, &client->account, limits.client_bytes, limits.client_buffers },
                { QUOTA_SCOPE_USER, NULL, &client->user->account, limits.user_bytes, LIMIT_INFINITY },
                { QUOTA_SCOPE_HEAP, heap, &share->account, limits.heap_client_bytes, LIMIT_INFINITY },
                { QUOTA_SCOPE_HEAP, heap, &budget->total, limits.heap_bytes, LIMIT_INFINITY },
                { QUOTA_SCOPE_SYSTEM, NULL, &accounting->system, limits.system_bytes, LIMIT_INFINITY },
                { QUOTA_SCOPE_HEAP, heap, &budget->others, limits.heap_others_bytes, LIMIT_INFINITY },
        };
        size_t n_demands = ELEMENTSOF(demands) - (limits.heap_has_reserve ? 1 : 0);

        r = quota_check(demands, n_demands, bytes, n_buffers, &refusal);
        if (r < 0) {
                fill_refusal(&refusal, client, ret_refusal);
                return r;
        }

        r = check_memory(accounting, peer, limits.keep_available, bytes, ret_refusal);
        if (r < 0)
                return r;

        r = cgroup_bytes_add(accounting->cgroup_bytes, &peer->cgroup_ids, bytes);
        if (r < 0)
                return r;

        (void) quota_reserve(&ret->charge, demands, n_demands, bytes, n_buffers, NULL); /* as was checked */
        ret->cgroup_ids = peer->cgroup_ids;
        ret->cgroup_bytes = bytes;
        ret->client = client;
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

static void free_all(LiveCharge **lives, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(lives[i]);
}

int accounting_record(Accounting *accounting, Reservation *reservation, const Peer *peer, const char *heap_name,
                      const char *label, const LedgerBuffer *buffers, uint32_t n_buffers) {
        bool kernel_charges = heap_registry_kernel_charges(accounting->heaps, heap_name);
        LedgerRecord *records[LEDGER_BATCH_MAX];
        LiveCharge *lives[LEDGER_BATCH_MAX] = {};
        Heap *heap;
        int r;

        r = heap_registry_get(accounting->heaps, heap_name, &heap);
        if (r < 0)
                return r;

        for (size_t i = 0; i < n_buffers; i++) {
                lives[i] = calloc(1, sizeof(LiveCharge));
                if (!lives[i]) {
                        free_all(lives, i);
                        return -ENOMEM;
                }
        }

        LedgerOwner owner = {
                .unit = peer->unit,
                .unit_is_user = peer->user_unit,
                .cgroup = peer->cgroup,
                .cgroup_ids = peer->cgroup_ids,
                .uid = peer->uid,
                .user = peer->user,
        };
        LedgerEntry entry = {
                .owner = &owner,
                .heap = heap_name,
                .label = label,
                .allocated_usec = now_usec(),
                .kernel_charges = kernel_charges,
        };

        r = ledger_add(accounting->ledger, &entry, buffers, n_buffers, records);
        if (r < 0) {
                free_all(lives, n_buffers);
                return r;
        }

        for (size_t i = 0; i < n_buffers; i++) {
                LiveCharge *live = lives[i];

                live->client = reservation->client;
                live->heap = heap;
                live->heap->bytes_used += buffers[i].size;
                quota_charge_split(&reservation->charge, buffers[i].size, &live->charge);
                if (kernel_charges)
                        cgroup_bytes_subtract(accounting->cgroup_bytes, &reservation->cgroup_ids, buffers[i].size);
                else
                        live->cgroup_bytes = buffers[i].size;
                records[i]->userdata = live;
        }

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

                accounting_on_record_gone(record, accounting);
                records[n++] = record;
        }

        ledger_withdraw(accounting->ledger, records, n);
        heap_registry_changed(accounting->heaps);
}

/* A census tells of the buffers that were there when it began, which is when it asks for the number of the last record. */
uint64_t accounting_on_census_begin(void *userdata) {
        const Accounting *accounting = userdata;

        return ledger_sequence(accounting->ledger);
}

void accounting_on_census(const CensusResult *result, uint64_t sequence, void *userdata) {
        Accounting *accounting = userdata;

        if (ledger_retire(accounting->ledger, result->inodes, result->n_entries, sequence, accounting_on_record_gone, accounting) > 0)
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

        r = census_rounds_new(parts->event, parts->census, accounting_on_census_begin, accounting_on_census, accounting,
                              &accounting->census_rounds);
        if (r < 0)
                return r;

        accounting->census = parts->census;
        accounting->ledger = parts->ledger;
        *ret = TAKE_PTR(accounting);
        return 0;
}
