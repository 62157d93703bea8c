/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "heap/heap.h"
#include "limits/quota.h"

/* The accounts of one CMA region, which all its heaps share; a heap without a region has a budget of its own. */
typedef struct Budget Budget;
struct Budget {
        Budget *next;
        char *name;          /* of the region, or of the heap */
        const Heap *heap;    /* the first heap that was charged, for reports */
        QuotaAccount total;  /* everybody */
        QuotaAccount others; /* all clients without a part in the region's reserve */
};

/* All zeroes is empty. */
typedef struct BudgetRegistry {
        Budget *budgets;
} BudgetRegistry;

/* Finds the budget of a heap, or adds it. Its address is good until budget_registry_done(). Returns 0 or -ENOMEM. */
int budget_registry_get(BudgetRegistry *registry, const Heap *heap, Budget **ret);

/* Frees all budgets; asserts that nothing is charged to them. */
void budget_registry_done(BudgetRegistry *registry);
