/* SPDX-License-Identifier: GPL-2.0-only */

/* Budgets are found by the name of the region, not by the heap: a region can be served by heaps of several names,
 * and what is allocated by either of them counts against the same limits. A budget stays once it is made, since
 * clients' shares are keyed by its address and the number of heaps is small. */

#include "accounting/budget.h"
#include "util/list.h"

static Budget *budget_free(Budget *budget) {
        if (!budget)
                return NULL;

        quota_account_done(&budget->total);
        quota_account_done(&budget->others);
        free(budget->name);
        free(budget);
        return NULL;
}
DEFINE_CLEANUP(Budget, budget_free);

int budget_registry_get(BudgetRegistry *registry, const Heap *heap, Budget **ret) {
        const char *name = heap->region ? heap->region->name : heap->name;

        for (Budget *budget = registry->budgets; budget; budget = budget->next)
                if (streq(budget->name, name)) {
                        *ret = budget;
                        return 0;
                }

        _cleanup_(budget_freep) Budget *budget = calloc(1, sizeof(Budget));
        if (!budget)
                return -ENOMEM;

        budget->heap = heap;
        budget->name = strdup(name);
        if (!budget->name)
                return -ENOMEM;

        LIST_PREPEND(registry->budgets, budget);
        *ret = TAKE_PTR(budget);
        return 0;
}

void budget_registry_done(BudgetRegistry *registry) {
        while (registry->budgets)
                budget_free(LIST_TAKE_FIRST(registry->budgets));
}
