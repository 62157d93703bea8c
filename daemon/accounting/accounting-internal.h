/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* What accounting.c and accounting-start.c share. Only they and the unit tests include it. */

#include "accounting/accounting.h"
#include "accounting/budget.h"
#include "accounting/census-rounds.h"
#include "accounting/rules.h"
#include "census/census.h"

/* The charge of one record of the ledger, which is its userdata. */
typedef struct LiveCharge {
        QuotaCharge charge;
        Client *client; /* NULL if its owner is not known */
        Heap *heap;
        uint64_t cgroup_bytes; /* added to the sums of the owner's control groups; 0 if the kernel charges */
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

/* What accounting_new() is given. On success it owns the census and the ledger; everything else is borrowed. */
typedef struct AccountingParts {
        sd_event *event;
        Config *const *config;
        HeapRegistry *heaps;
        ClientRegistry *clients;
        int cgroup_root_fd;
        const char *meminfo; /* NULL for /proc/meminfo */
        Census *census;      /* NULL in tests that take none */
        Ledger *ledger;      /* its records are charged by accounting_adopt() only */
} AccountingParts;

/* Makes an accounting that charges nothing yet. Returns 0 or -errno. */
int accounting_new(const AccountingParts *parts, Accounting **ret);

/* Retires the records of an earlier run that the census did not find, and charges those that are left. census: NULL
 * if none could be taken. Returns 0, or -errno, logged. */
int accounting_adopt(Accounting *accounting, const CensusResult *census);

/* The callbacks of the census rounds, with the Accounting as userdata. */
uint64_t accounting_on_census_begin(void *userdata);
void accounting_on_census(const CensusResult *result, uint64_t sequence, void *userdata);

/* All accounts that one buffer is charged to, with their limits, in the order in which refusals are reported. */
typedef struct Demands {
        QuotaDemand demands[QUOTA_ACCOUNTS_MAX];
        size_t n;
        uint64_t keep_available; /* see PolicyLimits */
} Demands;

/* Lists the accounts that are charged for a client's buffers of a heap. client: NULL for a buffer of an unknown owner,
 * which is charged to the system alone. Returns 0 or -ENOMEM. */
int accounting_demands(Accounting *accounting, Client *client, const Heap *heap, Demands *ret);
