/* SPDX-License-Identifier: GPL-2.0-only */

/* A buffer belongs to the client that asked for it until the kernel has freed it, and the kernel does not record
 * that client. So the daemon writes a record to a file before any fd leaves it. A daemon that was killed at any
 * moment therefore finds, at its next start, a record of every buffer that a client can have; a census tells which
 * of them still live. A superfluous record does no harm, since the census does not find its buffer and the record is
 * retired. A missing record cannot occur.
 *
 * In memory the records are an array in ascending order of inode numbers. The kernel gives inode numbers in
 * ascending order, so new records usually go to the end. A search is a bisection, and a census, in the same order,
 * is compared in one pass. Owners and names of heaps are shared between records. Without records no memory is
 * allocated for any.
 *
 * The file is written, and read only when it is opened: damage done to it while the daemon runs has no effect before
 * the next start, where ledger_file_check() finds it. */

#include <inttypes.h>
#include <stdio.h>

#include "ledger/ledger-file.h"
#include "ledger/ledger-shared.h"
#include "ledger/ledger.h"
#include "util/fd-util.h"

typedef struct Record {
        LedgerRecord record; /* what callers see; the first member, see record_of() */
        LedgerSharedOwner *owner;
        uint32_t slot;
        char label[LEDGER_LABEL_MAX + 1];
} Record;

struct Ledger {
        int fd;
        uint64_t sequence;

        Record **records; /* ascending by inode */
        size_t n_records;
        size_t n_allocated;

        LedgerShared shared;

        LedgerSlots slots;
};

/* ---- records ---- */

static Record *record_of(LedgerRecord *record) {
        return (Record *) record;
}

/* The index of the first record whose inode is not below this one: where the inode is, or belongs. */
static size_t find_index(const Ledger *ledger, uint64_t inode) {
        size_t low = 0, high = ledger->n_records;

        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (ledger->records[middle]->record.inode < inode)
                        low = middle + 1;
                else
                        high = middle;
        }

        return low;
}

LedgerRecord *ledger_find(Ledger *ledger, uint64_t inode) {
        size_t i = find_index(ledger, inode);

        return i < ledger->n_records && ledger->records[i]->record.inode == inode ? &ledger->records[i]->record : NULL;
}

size_t ledger_n_records(const Ledger *ledger) {
        return ledger->n_records;
}

LedgerRecord *ledger_at(Ledger *ledger, size_t index) {
        return index < ledger->n_records ? &ledger->records[index]->record : NULL;
}

uint64_t ledger_sequence(const Ledger *ledger) {
        return ledger->sequence;
}

static int make_room(Ledger *ledger, size_t n) {
        size_t n_allocated = MAX(ledger->n_allocated, 64U);

        while (n_allocated < ledger->n_records + n)
                n_allocated *= 2;
        if (n_allocated == ledger->n_allocated)
                return 0;

        Record **larger = reallocarray(ledger->records, n_allocated, sizeof(*larger));
        if (!larger)
                return -ENOMEM;

        ledger->records = larger;
        ledger->n_allocated = n_allocated;
        return 0;
}

/* Clears the slot of a record that is no longer in the array, and frees the record. If the file cannot be written,
 * the slot is not used again, and the census of the next start retires its record. */
static void record_end(Ledger *ledger, Record *record) {
        if (ledger_file_write_inode(ledger->fd, record->slot, 0) >= 0)
                ledger_slots_set(&ledger->slots, record->slot, false);

        record->owner->n_records--;
        ledger_shared_owner_release(&ledger->shared, record->owner);
        free(record);
}

/* When the last record is gone, frees the array and shrinks the file. */
static void release_memory(Ledger *ledger) {
        if (ledger->n_records > 0)
                return;

        free(ledger->records);
        ledger->records = NULL;
        ledger->n_allocated = 0;

        if (ledger->slots.n > LEDGER_FILE_STEP && ledger_file_shrink(ledger->fd, LEDGER_FILE_STEP) >= 0)
                ledger_slots_cut(&ledger->slots, LEDGER_FILE_STEP);
}

static int check_entry(Ledger *ledger, const LedgerEntry *entry, const LedgerBuffer *buffers, size_t n_buffers) {
        size_t heap_length = strlen(entry->heap);

        if (n_buffers > LEDGER_BATCH_MAX || heap_length == 0 || heap_length > LEDGER_HEAP_MAX ||
                        entry->owner->cgroup[0] == 0 || (entry->label && strlen(entry->label) > LEDGER_LABEL_MAX) ||
                        (entry->owner->unit && strlen(entry->owner->unit) > LEDGER_UNIT_MAX) ||
                        entry->owner->cgroup_ids.n > CGROUP_IDS_MAX)
                return -EINVAL;

        for (size_t i = 0; i < n_buffers; i++) {
                if (buffers[i].inode == 0)
                        return -EINVAL;
                if (ledger_find(ledger, buffers[i].inode))
                        return -EEXIST;
                for (size_t j = 0; j < i; j++)
                        if (buffers[j].inode == buffers[i].inode)
                                return -EEXIST;
        }

        return ledger->n_records + n_buffers > LEDGER_RECORDS_MAX ? -ENOBUFS : 0;
}

static Record *record_new(const LedgerEntry *entry, const LedgerBuffer *buffer, LedgerSharedOwner *owner,
                const char *heap, uint64_t sequence) {

        Record *record = calloc(1, sizeof(*record));
        if (!record)
                return NULL;

        *record = (Record) {
                .record = {
                        .inode = buffer->inode,
                        .size = buffer->size,
                        .allocated_usec = entry->allocated_usec,
                        .sequence = sequence,
                        .owner = &owner->owner,
                        .heap = heap,
                        .kernel_charges = entry->kernel_charges,
                },
                .owner = owner,
        };
        if (entry->label) {
                memcpy(record->label, entry->label, strlen(entry->label) + 1);
                record->record.label = record->label;
        }
        return record;
}

/* Gives each record a free slot, and lengthens the file as needed. */
static int assign_slots(Ledger *ledger, Record *const *records, size_t n_records) {
        uint32_t slot = 0;

        for (size_t i = 0; i < n_records; i++) {
                slot = ledger_slots_find_free(&ledger->slots, slot);

                if (slot == ledger->slots.n) {
                        /* Every slot has a record, or is one that record_end() could not clear. */
                        if (ledger->slots.n >= LEDGER_RECORDS_MAX)
                                return -ENOBUFS;

                        int r = ledger_file_grow(ledger->fd, ledger->slots.n + LEDGER_FILE_STEP);
                        if (r < 0)
                                return r;
                        ledger->slots.n += LEDGER_FILE_STEP;
                }

                records[i]->slot = slot++;
        }

        return 0;
}

/* Writes all bodies, then all inodes: a slot counts as a record from the moment its inode is in the file. */
static int write_records(Ledger *ledger, Record *const *records, size_t n_records) {
        for (size_t i = 0; i < n_records; i++) {
                LedgerFileSlot slot;

                ledger_file_encode(&records[i]->record, &slot);
                int r = ledger_file_write_body(ledger->fd, records[i]->slot, &slot);
                if (r < 0)
                        return r;
        }

        for (size_t i = 0; i < n_records; i++) {
                int r = ledger_file_write_inode(ledger->fd, records[i]->slot, records[i]->record.inode);
                if (r < 0) {
                        while (i-- > 0)
                                (void) ledger_file_write_inode(ledger->fd, records[i]->slot, 0);
                        return r;
                }
        }

        return 0;
}

/* Inserts a record into the array, which has room for it. */
static void insert_record(Ledger *ledger, Record *record) {
        size_t i = find_index(ledger, record->record.inode);

        memmove(&ledger->records[i + 1], &ledger->records[i], (ledger->n_records - i) * sizeof(*ledger->records));
        ledger->records[i] = record;
        ledger->n_records++;

        ledger_slots_set(&ledger->slots, record->slot, true);
        record->owner->n_records++;
}

int ledger_add(Ledger *ledger, const LedgerEntry *entry, const LedgerBuffer *buffers, size_t n_buffers,
                LedgerRecord **ret_records) {

        Record *records[LEDGER_BATCH_MAX];
        const char *heap;
        LedgerSharedOwner *owner;
        size_t n = 0;

        int r = check_entry(ledger, entry, buffers, n_buffers);
        if (r < 0)
                return r;

        r = ledger_shared_heap(&ledger->shared, entry->heap, &heap);
        if (r < 0)
                return r;

        r = ledger_shared_owner(&ledger->shared, entry->owner, &owner);
        if (r < 0)
                return r;

        r = make_room(ledger, n_buffers);
        for (; r >= 0 && n < n_buffers; n++) {
                records[n] = record_new(entry, &buffers[n], owner, heap, ledger->sequence + 1);
                if (!records[n]) {
                        r = -ENOMEM;
                        break;
                }
        }

        if (r >= 0)
                r = assign_slots(ledger, records, n_buffers);
        if (r >= 0)
                r = write_records(ledger, records, n_buffers);
        if (r < 0) {
                while (n > 0)
                        free(records[--n]);
                ledger_shared_owner_release(&ledger->shared, owner);
                return r;
        }

        ledger->sequence++;
        for (size_t i = 0; i < n_buffers; i++) {
                insert_record(ledger, records[i]);
                if (ret_records)
                        ret_records[i] = &records[i]->record;
        }
        ledger_shared_owner_release(&ledger->shared, owner);
        return 0;
}

void ledger_withdraw(Ledger *ledger, LedgerRecord *const *records, size_t n_records) {
        for (size_t i = 0; i < n_records; i++) {
                size_t index = find_index(ledger, records[i]->inode);

                ledger->n_records--;
                memmove(&ledger->records[index],
                                &ledger->records[index + 1],
                                (ledger->n_records - index) * sizeof(*ledger->records));
                record_end(ledger, record_of(records[i]));
        }

        release_memory(ledger);
}

size_t ledger_retire(Ledger *ledger, const uint64_t *inodes, size_t n_inodes, uint64_t sequence,
                ledger_retired_t on_retired, void *userdata) {

        size_t n = ledger->n_records, n_kept = 0;

        for (size_t i = 0, k = 0; i < n; i++) {
                Record *record = ledger->records[i];

                while (k < n_inodes && inodes[k] < record->record.inode)
                        k++;

                bool alive = k < n_inodes && inodes[k] == record->record.inode;
                if (alive || record->record.sequence > sequence) {
                        ledger->records[n_kept++] = record;
                        continue;
                }

                if (on_retired)
                        on_retired(&record->record, userdata);
                record_end(ledger, record);
        }

        ledger->n_records = n_kept;
        release_memory(ledger);
        return n - n_kept;
}

/* ---- opening ---- */

Ledger *ledger_free(Ledger *ledger) {
        if (!ledger)
                return NULL;

        for (size_t i = 0; i < ledger->n_records; i++) {
                Record *record = ledger->records[i];

                record->owner->n_records--;
                ledger_shared_owner_release(&ledger->shared, record->owner);
                free(record);
        }
        free(ledger->records);
        ledger_shared_done(&ledger->shared);
        safe_close(ledger->fd);
        free(ledger);
        return NULL;
}

static Ledger *ledger_new(int fd, uint32_t n_slots) {
        Ledger *ledger = calloc(1, sizeof(*ledger));

        if (ledger) {
                ledger->fd = fd;
                ledger->slots.n = n_slots;
        }
        return ledger;
}

/* Appends the record of one slot to the array, if the slot has one. *ret_problem: what is wrong with the slot, or
 * NULL. */
static int load_slot(Ledger *ledger, uint32_t index, const char **ret_problem) {
        LedgerFileStrings strings;
        LedgerSharedOwner *owner;
        Identity template;
        LedgerFileSlot slot;
        LedgerEntry entry;
        const char *heap;

        int r = ledger_file_read_slot(ledger->fd, index, &slot);
        if (r < 0) {
                *ret_problem = strerror(-r);
                return 0;
        }
        if (slot.inode == 0)
                return 0;

        *ret_problem = ledger_file_check(&slot);
        if (*ret_problem)
                return 0;

        ledger_file_decode(&slot, &strings, &template, &entry);

        r = make_room(ledger, 1);
        if (r >= 0)
                r = ledger_shared_heap(&ledger->shared, entry.heap, &heap);
        if (r >= 0)
                r = ledger_shared_owner(&ledger->shared, &template, &owner);
        if (r < 0)
                return r;

        Record *record = record_new(&entry, &(LedgerBuffer) { slot.inode, slot.size }, owner, heap, slot.sequence);
        if (!record) {
                ledger_shared_owner_release(&ledger->shared, owner);
                return -ENOMEM;
        }

        record->slot = index;
        ledger_slots_set(&ledger->slots, index, true);
        record->owner->n_records++;
        ledger->records[ledger->n_records++] = record;
        ledger->sequence = MAX(ledger->sequence, slot.sequence);
        return 0;
}

static int compare_records(const void *a, const void *b) {
        const Record *x = *(Record *const *) a, *y = *(Record *const *) b;

        return x->record.inode < y->record.inode ? -1 : x->record.inode > y->record.inode;
}

/* Reads all slots, and sorts the records. ret_problem: set, to a text that the caller frees, if the file is damaged. */
static int load_records(Ledger *ledger, char **ret_problem) {
        for (uint32_t i = 0; i < ledger->slots.n; i++) {
                const char *problem = NULL;

                int r = load_slot(ledger, i, &problem);
                if (r < 0)
                        return r;
                if (problem)
                        return asprintf(ret_problem, "record %" PRIu32 ": %s", i, problem) < 0 ? -ENOMEM : 0;
        }

        if (ledger->n_records > 0)
                qsort(ledger->records, ledger->n_records, sizeof(*ledger->records), compare_records);

        for (size_t i = 1; i < ledger->n_records; i++)
                if (ledger->records[i - 1]->record.inode == ledger->records[i]->record.inode) {
                        *ret_problem = strdup("it has two records of one buffer");
                        return *ret_problem ? 0 : -ENOMEM;
                }

        release_memory(ledger);
        return 0;
}

int ledger_open(int dir_fd, const uint8_t boot_id[static 16], Ledger **ret, char **ret_set_aside) {
        _cleanup_(ledger_freep) Ledger *ledger = NULL;
        _cleanup_free_ char *problem = NULL, *set_aside = NULL;
        uint32_t n_slots;
        int fd, r;

        r = dir_fd < 0 ? -ENOENT : ledger_file_open(dir_fd, boot_id, &n_slots, &fd, &problem);
        if (r >= 0 && !problem) {
                ledger = ledger_new(fd, n_slots);
                if (!ledger) {
                        safe_close(fd);
                        return -ENOMEM;
                }

                r = load_records(ledger, &problem);
        }
        if (r < 0 && r != -ENOENT)
                return r;

        if (problem) {
                ledger = ledger_free(ledger);
                r = ledger_file_set_aside(dir_fd, problem, &set_aside);
                if (r < 0)
                        return r;
                if (r == 0)
                        dir_fd = -EBADF;
        }

        if (!ledger) {
                r = ledger_file_create(dir_fd, boot_id, &n_slots, &fd);
                if (r < 0)
                        return r;

                ledger = ledger_new(fd, n_slots);
                if (!ledger) {
                        safe_close(fd);
                        return -ENOMEM;
                }
        }

        *ret = TAKE_PTR(ledger);
        *ret_set_aside = TAKE_PTR(set_aside);
        return 0;
}
