/* SPDX-License-Identifier: GPL-2.0-only */

/* A hash table from cgroup ids to sums, with open addressing: every request looks up each level of its cgroup. A sum
 * that falls to 0 is taken out, and entries after it in the same run are moved up, so that no tombstones are needed.
 * Every id in the table has a sum above 0, and between an id's home slot and its own no slot is free. */

#include <assert.h>

#include "limits/cgroup-bytes.h"

typedef struct Slot {
        uint64_t id; /* 0: the slot is free, since no inode has that number */
        uint64_t size;
} Slot;

struct CgroupBytes {
        Slot *slots;
        size_t n_slots; /* a power of two, or 0 */
        size_t n_used;
};

CgroupBytes *cgroup_bytes_new(void) {
        return calloc(1, sizeof(CgroupBytes));
}

CgroupBytes *cgroup_bytes_free(CgroupBytes *bytes) {
        if (bytes)
                free(bytes->slots);
        free(bytes);
        return NULL;
}

static size_t home_of(const CgroupBytes *bytes, uint64_t id) {
        return (size_t) (id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (bytes->n_slots - 1);
}

static size_t after(const CgroupBytes *bytes, size_t i) {
        return (i + 1) & (bytes->n_slots - 1);
}

/* The slot of an id, or the free one where it belongs. make_room() leaves some slots free. */
static Slot *find_slot(const CgroupBytes *bytes, uint64_t id) {
        size_t i = home_of(bytes, id);

        while (bytes->slots[i].id != 0 && bytes->slots[i].id != id)
                i = after(bytes, i);
        return &bytes->slots[i];
}

/* Makes room for n more ids and leaves at least a third of the slots free. */
static int make_room(CgroupBytes *bytes, size_t n) {
        size_t n_slots = MAX(bytes->n_slots, 64U);

        while ((bytes->n_used + n) * 3 > n_slots * 2)
                n_slots *= 2;
        if (n_slots == bytes->n_slots)
                return 0;

        CgroupBytes larger = {
                .slots = calloc(n_slots, sizeof(Slot)),
                .n_slots = n_slots,
                .n_used = bytes->n_used,
        };
        if (!larger.slots)
                return -ENOMEM;

        for (size_t i = 0; i < bytes->n_slots; i++)
                if (bytes->slots[i].id != 0)
                        *find_slot(&larger, bytes->slots[i].id) = bytes->slots[i];

        free(bytes->slots);
        *bytes = larger;
        return 0;
}

int cgroup_bytes_add(CgroupBytes *bytes, const CgroupIds *ids, uint64_t size) {
        if (size == 0)
                return 0; /* a sum of 0 has no slot */

        int r = make_room(bytes, ids->n);
        if (r < 0)
                return r;

        for (size_t i = 0; i < ids->n; i++) {
                assert(ids->ids[i] != 0);

                Slot *slot = find_slot(bytes, ids->ids[i]);
                if (slot->id == 0) {
                        slot->id = ids->ids[i];
                        bytes->n_used++;
                }
                slot->size += size;
        }

        return 0;
}

static void free_slot(CgroupBytes *bytes, Slot *slot) {
        size_t hole = slot - bytes->slots;

        for (size_t i = after(bytes, hole); bytes->slots[i].id != 0; i = after(bytes, i)) {
                /* An entry is moved into the hole if the hole is between its home slot and its slot. */
                size_t home = home_of(bytes, bytes->slots[i].id), mask = bytes->n_slots - 1;
                if (((i - home) & mask) < ((i - hole) & mask))
                        continue;

                bytes->slots[hole] = bytes->slots[i];
                hole = i;
        }

        bytes->slots[hole] = (Slot) {};
        bytes->n_used--;
}

void cgroup_bytes_subtract(CgroupBytes *bytes, const CgroupIds *ids, uint64_t size) {
        if (size == 0)
                return;

        for (size_t i = 0; i < ids->n; i++) {
                assert(bytes->n_used > 0);

                Slot *slot = find_slot(bytes, ids->ids[i]);
                assert(slot->id != 0 && slot->size >= size);

                slot->size -= size;
                if (slot->size == 0)
                        free_slot(bytes, slot);
        }

        if (bytes->n_used == 0) {
                free(bytes->slots);
                *bytes = (CgroupBytes) {};
        }
}

uint64_t cgroup_bytes_get(uint64_t id, void *userdata) {
        const CgroupBytes *bytes = userdata;

        return bytes->n_used > 0 && id != 0 ? find_slot(bytes, id)->size : 0;
}
