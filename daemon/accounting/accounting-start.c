/* SPDX-License-Identifier: GPL-2.0-only */

/* Start-up and reload: charges the buffers that exist already. The ledger names the owners of the previous run's
 * buffers, and a census tells which of them still live. Afterwards every record has its charge, as if this run had
 * allocated the buffer, whether or not the limits of now would allow it. */

#include <fcntl.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>

#include "accounting/accounting-internal.h"
#include "util/fd-util.h"
#include "util/log.h"
#include "util/time-util.h"

#define LEDGER_DIRECTORY "/run/dmaheapd-ledger"

/* Recreates the charge of a record of an earlier run. Limits are not checked, since the buffer exists. */
static int adopt_record(Accounting *accounting, LedgerRecord *record) {
        const Identity *owner = record->owner;
        Demands demands;
        int r;

        _cleanup_free_ LiveCharge *live = calloc(1, sizeof(LiveCharge));
        if (!live)
                return -ENOMEM;

        r = heap_registry_get(accounting->heaps, record->heap, &live->heap);
        if (r < 0)
                return r;

        if (!streq(owner->cgroup, LEDGER_UNATTRIBUTED)) {
                r = client_registry_get(accounting->clients, owner, &live->client);
                if (r >= 0 && !record->kernel_charges) {
                        r = cgroup_bytes_add(accounting->cgroup_bytes, &owner->cgroup_ids, record->size);
                        live->cgroup_bytes = record->size;
                }
                if (r < 0)
                        return r;
        }

        r = accounting_demands(accounting, live->client, live->heap, &demands);
        if (r < 0)
                return r;

        quota_charge_force(&live->charge, demands.demands, demands.n, record->size, 1);
        live->heap->bytes_used += record->size;
        record->userdata = TAKE_PTR(live);
        return 0;
}

int accounting_config_changed(Accounting *accounting) {
        for (size_t i = 0; i < ledger_n_records(accounting->ledger); i++) {
                LedgerRecord *record = ledger_at(accounting->ledger, i);
                LiveCharge *live = record->userdata;
                Demands demands;

                if (!live)
                        continue;

                int r = accounting_demands(accounting, live->client, live->heap, &demands);
                if (r < 0)
                        return r;

                quota_uncharge(&live->charge);
                quota_charge_force(&live->charge, demands.demands, demands.n, record->size, 1);
        }

        return 0;
}

/* Whether a buffer of this exporter must have been allocated by the daemon: the exporter is a heap that only root can
 * open. */
static bool is_ours(const Accounting *accounting, const char *exporter) {
        const Heap *heap = heap_registry_find(accounting->heaps, exporter);
        char path[128];
        struct stat st;

        return heap && heap->state == HEAP_READY && heap_device_path(heap, path, sizeof(path)) >= 0 &&
                        stat(path, &st) >= 0 && st.st_uid == 0 && (st.st_mode & 0077) == 0;
}

/* Records the live buffers that have no record. There are some if the ledger was lost. */
static int adopt_unattributed(Accounting *accounting, const CensusResult *census) {
        Identity nobody = { .cgroup = (char *) LEDGER_UNATTRIBUTED, .uid = (uid_t) -1, .user = (uid_t) -1 };
        unsigned n = 0;
        int r;

        for (size_t i = 0; i < census->n_entries; i++) {
                const CensusEntry *entry = &census->entries[i];
                LedgerRecord *record;

                if (ledger_find(accounting->ledger, entry->inode) || !is_ours(accounting, entry->exporter))
                        continue;

                const LedgerEntry properties = {
                        .owner = &nobody,
                        .heap = entry->exporter,
                        .allocated_usec = now_usec(),
                };
                const LedgerBuffer buffer = { .inode = entry->inode, .size = entry->size };

                r = ledger_add(accounting->ledger, &properties, &buffer, 1, &record);
                if (r >= 0)
                        r = adopt_record(accounting, record);
                if (r < 0)
                        return r;
                n++;
        }

        if (n > 0)
                log_warning("%u buffers are alive whose owner is not known; "
                            "they count against the system's limit only.",
                                n);
        return 0;
}

int accounting_adopt(Accounting *accounting, const CensusResult *census) {
        int r;

        if (census)
                (void) ledger_retire(accounting->ledger, census->inodes, census->n_entries, UINT64_MAX, NULL, NULL);

        for (size_t i = 0; i < ledger_n_records(accounting->ledger); i++) {
                r = adopt_record(accounting, ledger_at(accounting->ledger, i));
                if (r < 0)
                        return log_error_errno(r, "Cannot take over the ledger: %m");
        }

        if (census) {
                r = adopt_unattributed(accounting, census);
                if (r < 0)
                        (void) log_warning_errno(r, "Cannot record all buffers whose owner is not known: %m");
        }

        return 0;
}

/* Returns 0 or -errno, logged. */
static int take_first_census(Census *census, CensusResult **ret) {
        CensusMethod method = census_method(census);
        const char *reason = census_reason(census);

        if (method == CENSUS_METHOD_NONE) {
                log_error("The kernel's buffers cannot be counted: %s.", reason);
                return -EOPNOTSUPP;
        }

        log_info("Counting buffers by way of %s%s%s.",
                        census_method_to_string(method),
                        reason ? ": " : "",
                        reason ?: "");

        int r = census_take(census, ret);
        if (r < 0)
                return log_warning_errno(r, "The first census of the buffers failed: %m");
        return 0;
}

/* Opens the ledger of LEDGER_DIRECTORY, or one in memory if that cannot be used. */
static int open_ledger(Ledger **ret) {
        const char *path = getenv("RUNTIME_DIRECTORY");
        _cleanup_free_ char *set_aside = NULL;
        sd_id128_t boot_id;
        int r;

        r = sd_id128_get_boot(&boot_id);
        if (r < 0)
                return r;

        _cleanup_close_ int dir_fd = open(path ?: LEDGER_DIRECTORY, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                (void) log_error_errno(errno, "Cannot open the ledger's directory, keeping it in memory: %m");

        r = ledger_open(dir_fd, boot_id.bytes, ret, &set_aside);
        if (r < 0 && dir_fd >= 0) {
                (void) log_error_errno(r, "Cannot open the ledger, keeping it in memory: %m");
                r = ledger_open(-EBADF, boot_id.bytes, ret, &set_aside);
        }
        if (r >= 0 && set_aside)
                log_warning("%s", set_aside);
        return r;
}

int accounting_start(sd_event *event, Config *const *config, HeapRegistry *heaps, ClientRegistry *clients,
                int cgroup_root_fd, Accounting **ret) {
        _cleanup_(accounting_freep) Accounting *accounting = NULL;
        _cleanup_(census_result_freep) CensusResult *first = NULL;
        _cleanup_(census_freep) Census *census = NULL;
        _cleanup_(ledger_freep) Ledger *ledger = NULL;
        int r;

        r = census_new(&census);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the census: %m");

        r = open_ledger(&ledger);
        if (r < 0)
                return log_error_errno(r, "Cannot open a ledger: %m");

        r = accounting_new(
                        &(AccountingParts) {
                                .event = event,
                                .config = config,
                                .heaps = heaps,
                                .clients = clients,
                                .cgroup_root_fd = cgroup_root_fd,
                                .census = census,
                                .ledger = ledger,
                        },
                        &accounting);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the accounting: %m");
        TAKE_PTR(census);
        TAKE_PTR(ledger);

        (void) take_first_census(accounting->census, &first);
        r = accounting_adopt(accounting, first);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(accounting);
        return 0;
}
