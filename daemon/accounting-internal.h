/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* What the files of the accounting share; nobody else's business. */

#include "accounting.h"
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
        Ledger *ledger;
        Census *census;
        CensusRounds *census_rounds;
        CgroupBytes *cgroup_bytes;
        Budget *budgets;
        QuotaAccount system;
};

/* A record is about to go: ends what it paid. Fits ledger_retired_t, with the Accounting as userdata. */
void accounting_on_record_gone(LedgerRecord *record, void *userdata);

/* The budget of a heap, made if there is none. Returns 0 or -ENOMEM. */
int accounting_get_budget(Accounting *accounting, const char *heap, Budget **ret);
