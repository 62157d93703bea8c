/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* What the files of the accounting share; nobody else's business. */

#include "accounting.h"
#include "budget.h"
#include "census-rounds.h"
#include "rules.h"

/* What a record of the ledger pays with. */
typedef struct LiveCharge {
        QuotaCharge charge;
        Client *client;        /* NULL: unattributed */
        Heap *heap;
        uint64_t cgroup_bytes; /* in the sums of its control groups; 0 where the kernel charges */
} LiveCharge;

struct Accounting {
        Rules rules;
        HeapRegistry *heaps;
        ClientRegistry *clients;
        int cgroup_root_fd;
        const char *meminfo;
        Ledger *ledger;
        Census *census;
        CensusRounds *census_rounds;
        CgroupBytes *cgroup_bytes;
        BudgetRegistry budgets;
        QuotaAccount system;
};

/* What an Accounting is made of. All is borrowed but the ledger and the census, which are taken over on success. */
typedef struct AccountingParts {
        sd_event *event;
        Config *const *config;
        HeapRegistry *heaps;
        ClientRegistry *clients;
        int cgroup_root_fd;
        const char *meminfo; /* NULL for /proc/meminfo */
        Census *census;      /* NULL in tests that take none */
        Ledger *ledger;      /* its records are not charged yet: see accounting_adopt() */
} AccountingParts;

/* Returns 0 or -errno. */
int accounting_new(const AccountingParts *parts, Accounting **ret);

/* Retires the records that the census did not find, and charges those that are left. census: NULL if none could be taken.
 * Returns 0, or -errno, logged. */
int accounting_adopt(Accounting *accounting, const CensusResult *census);

/* The callbacks of the census rounds, with the Accounting as userdata. */
uint64_t accounting_on_census_begin(void *userdata);
void accounting_on_census(const CensusResult *result, uint64_t sequence, void *userdata);

/* A record is about to go: ends what it paid. Fits ledger_retired_t, with the Accounting as userdata. */
void accounting_on_record_gone(LedgerRecord *record, void *userdata);

/* All accounts that one buffer is charged to, with their limits, in the order in which refusals are reported. */
typedef struct Demands {
        QuotaDemand demands[QUOTA_ACCOUNTS_MAX];
        size_t n;
        uint64_t keep_available; /* see PolicyLimits */
} Demands;

/* Says who is charged for a client's buffers of a heap. client: NULL where nobody knows whose a buffer is, so that it counts
 * against the system alone. Returns 0 or -ENOMEM. */
int accounting_demands(Accounting *accounting, Client *client, const Heap *heap, Demands *ret);
