/* SPDX-License-Identifier: GPL-2.0-only */

/* Puts a census together in the child that takes it, and brings it to the parent. The invariant: the parent reads
 * either the whole census of a child that found nothing doubtful, or an error. */

#include <sys/stat.h>

#include "census/census-builder.h"
#include "util/fd-util.h"

void census_builder_done(CensusBuilder *builder) {
        free(builder->items);
        free(builder->exporters);
        *builder = (CensusBuilder) {};
}

/* Finds the exporter, or adds it. There are few, and the same one comes
 * many times in a row: the search begins with the last. */
static int find_exporter(CensusBuilder *builder, const char *exporter, size_t length, size_t *ret) {
        length = MIN(length, CENSUS_EXPORTER_SIZE - 1);

        for (size_t i = builder->n_exporters; i-- > 0;)
                if (memcmp(builder->exporters[i], exporter, length) == 0 && builder->exporters[i][length] == 0) {
                        *ret = i;
                        return 0;
                }

        char(*larger)[CENSUS_EXPORTER_SIZE] =
                        reallocarray(builder->exporters, builder->n_exporters + 1, sizeof(*larger));
        if (!larger)
                return -ENOMEM;

        builder->exporters = larger;
        memset(larger[builder->n_exporters], 0, CENSUS_EXPORTER_SIZE);
        memcpy(larger[builder->n_exporters], exporter, length);
        *ret = builder->n_exporters++;
        return 0;
}

int census_builder_add(CensusBuilder *builder, uint64_t inode, uint64_t size, const char *exporter, size_t length) {
        size_t index;

        int r = find_exporter(builder, exporter, length, &index);
        if (r < 0)
                return r;

        if (builder->n_items == builder->n_items_allocated) {
                size_t n = MAX(builder->n_items_allocated * 2, (size_t) 256);

                CensusItem *larger = reallocarray(builder->items, n, sizeof(*larger));
                if (!larger)
                        return -ENOMEM;
                builder->items = larger;
                builder->n_items_allocated = n;
        }

        builder->items[builder->n_items++] = (CensusItem) { inode, size, index };
        return 0;
}

static int compare_items(const void *a, const void *b) {
        const CensusItem *x = a, *y = b;

        return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static bool is_ascending(const CensusBuilder *builder) {
        for (size_t i = 1; i < builder->n_items; i++)
                if (builder->items[i - 1].inode > builder->items[i].inode)
                        return false;
        return true;
}

static void reverse(CensusBuilder *builder) {
        for (size_t i = 0, j = builder->n_items; i + 1 < j; i++) {
                CensusItem item = builder->items[i];

                builder->items[i] = builder->items[--j];
                builder->items[j] = item;
        }
}

void census_builder_sort(CensusBuilder *builder) {
        size_t n = 0;

        /* The kernel lists the newest first, so this alone mostly sorts them. */
        reverse(builder);
        if (!is_ascending(builder))
                qsort(builder->items, builder->n_items, sizeof(CensusItem), compare_items);

        for (size_t i = 0; i < builder->n_items; i++)
                if (n == 0 || builder->items[n - 1].inode != builder->items[i].inode)
                        builder->items[n++] = builder->items[i];
        builder->n_items = n;
}

int census_builder_finish(CensusBuilder *builder, CensusResult **ret) {
        _cleanup_(census_result_freep) CensusResult *result = calloc(1, sizeof(*result));
        if (!result)
                return -ENOMEM;

        /* One more than needed: calloc(0) may return NULL. */
        result->entries = calloc(builder->n_items + 1, sizeof(CensusEntry));
        result->inodes = calloc(builder->n_items + 1, sizeof(uint64_t));
        if (!result->entries || !result->inodes)
                return -ENOMEM;

        result->exporters = TAKE_PTR(builder->exporters);
        for (size_t i = 0; i < builder->n_items; i++) {
                const CensusItem *item = &builder->items[i];

                result->inodes[i] = item->inode;
                result->entries[i] = (CensusEntry) { item->inode, item->size, result->exporters[item->exporter] };
        }
        result->n_entries = builder->n_items;

        *ret = TAKE_PTR(result);
        return 0;
}

/* What a child writes: this, then the items, then the exporters. */
typedef struct Header {
        int64_t error; /* negative errno, or 0 */
        uint64_t n_items;
        uint64_t n_exporters;
} Header;

int census_builder_write(const CensusBuilder *builder, int error, int fd) {
        Header header = { .error = error };

        if (error >= 0) {
                header.n_items = builder->n_items;
                header.n_exporters = builder->n_exporters;
        }

        size_t items_size = header.n_items * sizeof(CensusItem);
        int r = pwrite_all(fd, &header, sizeof(header), 0);
        if (r >= 0)
                r = pwrite_all(fd, builder->items, items_size, sizeof(header));
        if (r >= 0)
                r = pwrite_all(fd,
                                builder->exporters,
                                header.n_exporters * CENSUS_EXPORTER_SIZE,
                                sizeof(header) + items_size);
        return r;
}

int census_builder_read(CensusBuilder *builder, int fd) {
        Header header;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;

        int r = pread_all(fd, &header, sizeof(header), 0);
        if (r < 0)
                return r;
        if (header.error < 0)
                return header.error;

        /* A child that died while it wrote has left less than it announced. */
        uint64_t size = st.st_size;
        if (header.n_items > size / sizeof(CensusItem) || header.n_exporters > size / CENSUS_EXPORTER_SIZE ||
                        sizeof(header) + header.n_items * sizeof(CensusItem) +
                                                        header.n_exporters * CENSUS_EXPORTER_SIZE !=
                                        size)
                return -EIO;

        builder->items = calloc(header.n_items + 1, sizeof(CensusItem));
        builder->exporters = calloc(header.n_exporters + 1, CENSUS_EXPORTER_SIZE);
        if (!builder->items || !builder->exporters)
                return -ENOMEM;
        builder->n_items = builder->n_items_allocated = header.n_items;
        builder->n_exporters = header.n_exporters;

        size_t items_size = header.n_items * sizeof(CensusItem);
        r = pread_all(fd, builder->items, items_size, sizeof(header));
        if (r >= 0)
                r = pread_all(fd,
                                builder->exporters,
                                header.n_exporters * CENSUS_EXPORTER_SIZE,
                                sizeof(header) + items_size);
        return r;
}
