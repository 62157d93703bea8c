/* SPDX-License-Identifier: GPL-2.0-only */

/* The registry of heaps joins three sources: the nodes of the kernel (ready), the modules that are declared for a heap
 * (loadable), and the result of the last load (failed). Each source reports its changes here.
 *
 * Invariants: a heap is never freed before the registry. Its region is always one of the registry's present regions, or
 * NULL: registry_find_regions() follows each change of the regions and the roles. */

#include <stdio.h>

#include "heap/heap.h"
#include "util/list.h"

void heap_registry_changed(HeapRegistry *registry) {
        if (registry->on_changed)
                registry->on_changed(registry->userdata);
}

void heap_registry_init(HeapRegistry *registry, heap_changed_t on_changed, void *userdata) {
        *registry = (HeapRegistry) { .on_changed = on_changed, .userdata = userdata };
}

static Heap *heap_free(Heap *heap) {
        if (!heap)
                return NULL;

        free(heap->name);
        free(heap->reason);
        free(heap->module);
        free(heap);
        return NULL;
}
DEFINE_CLEANUP(Heap, heap_free);

static Region *region_free(Region *region) {
        if (!region)
                return NULL;

        free(region->name);
        free(region);
        return NULL;
}
DEFINE_CLEANUP(Region, region_free);

void heap_registry_done(HeapRegistry *registry) {
        while (registry->heaps)
                heap_free(LIST_TAKE_FIRST(registry->heaps));
        while (registry->regions)
                region_free(LIST_TAKE_FIRST(registry->regions));
        registry->roles = NULL;
}

int heap_device_path(const Heap *heap, char *buffer, size_t size) {
        const char *directory = heap->kind == HEAP_KIND_UDMABUF ? "/dev" : "/dev/dma_heap";
        int n = snprintf(buffer, size, "%s/%s", directory, heap->name);

        return n >= 0 && (size_t) n < size ? 0 : -ENAMETOOLONG;
}

static const Role *find_role(const HeapRegistry *registry, const char *name) {
        for (const Role *role = registry->roles; role; role = role->next)
                if (streq(role->name, name))
                        return role;
        return NULL;
}

/* Whether this is the name of a region's heap on some board. */
static bool names_a_region(const HeapRegistry *registry, const char *heap_name) {
        for (const Role *role = registry->roles; role; role = role->next)
                if (role->other_regions && strv_contains(role->heaps, heap_name))
                        return true;
        return false;
}

/* A kernel without our cma_region bus does not say which region is the default one. The only region is. Among several,
 * it is the one that a role with other_regions lists, if there is just one such. */
static const Region *guess_default_region(const HeapRegistry *registry) {
        const Region *found = NULL;

        if (registry->regions && !registry->regions->next)
                return registry->regions;

        for (const Region *region = registry->regions; region; region = region->next)
                if (names_a_region(registry, region->name)) {
                        if (found)
                                return NULL;
                        found = region;
                }

        return found;
}

static const Region *default_region(const HeapRegistry *registry) {
        for (const Region *region = registry->regions; region; region = region->next)
                if (region->is_default)
                        return region;

        return guess_default_region(registry);
}

static const Region *region_of(const HeapRegistry *registry, const char *heap_name) {
        for (const Region *region = registry->regions; region; region = region->next)
                if (streq(region->name, heap_name))
                        return region;

        return streq(heap_name, HEAP_DEFAULT_CMA_REGION) ? default_region(registry) : NULL;
}

/* Looks up the region of every heap. Due after each change of the regions and of the roles. */
static void registry_find_regions(HeapRegistry *registry) {
        for (Heap *heap = registry->heaps; heap; heap = heap->next)
                heap->region = region_of(registry, heap->name);
}

void heap_registry_set_roles(HeapRegistry *registry, const Role *roles) {
        registry->roles = roles;
        registry_find_regions(registry);
}

Heap *heap_registry_find(HeapRegistry *registry, const char *name) {
        for (Heap *heap = registry->heaps; heap; heap = heap->next)
                if (streq(heap->name, name))
                        return heap;
        return NULL;
}

static HeapKind kind_of(const char *heap_name) {
        if (streq(heap_name, HEAP_UDMABUF))
                return HEAP_KIND_UDMABUF;

        return streq(heap_name, "system") ? HEAP_KIND_SYSTEM : HEAP_KIND_DMA_HEAP;
}

Heap heap_registry_stranger(const HeapRegistry *registry, const char *name) {
        return (Heap) {
                .name = (char *) name,
                .kind = kind_of(name),
                .state = HEAP_FAILED,
                .region = region_of(registry, name),
        };
}

int heap_registry_get(HeapRegistry *registry, const char *name, Heap **ret) {
        Heap **p = &registry->heaps;

        while (*p && strcmp((*p)->name, name) < 0)
                p = &(*p)->next;

        if (!*p || !streq((*p)->name, name)) {
                _cleanup_(heap_freep) Heap *heap = calloc(1, sizeof(Heap));
                if (!heap)
                        return -ENOMEM;

                *heap = heap_registry_stranger(registry, name);
                heap->name = strdup(name);
                if (!heap->name)
                        return -ENOMEM;

                heap->next = *p;
                *p = TAKE_PTR(heap);
        }

        *ret = *p;
        return 0;
}

/* Sets the state that follows from the declarations alone. */
static void heap_reset(Heap *heap) {
        heap->state = heap->declared ? HEAP_LOADABLE : HEAP_FAILED;
        free(heap->reason);
        heap->reason = NULL;
        heap->failed_at = 0;
}

int heap_registry_appeared(HeapRegistry *registry, const char *name) {
        Heap *heap;
        int r = heap_registry_get(registry, name, &heap);
        if (r < 0)
                return r;

        if (heap->state == HEAP_READY)
                return 0;

        heap_reset(heap);
        heap->state = HEAP_READY;
        heap_registry_changed(registry);
        return 0;
}

void heap_registry_vanished(HeapRegistry *registry, const char *name) {
        Heap *heap = heap_registry_find(registry, name);

        if (!heap || heap->state != HEAP_READY)
                return;

        heap_reset(heap);
        heap_registry_changed(registry);
}

void heap_registry_scan_begin(HeapRegistry *registry) {
        for (Heap *heap = registry->heaps; heap; heap = heap->next)
                heap->declared = false;
}

static bool is_spelt(const char *name, const char *spelling) {
        while (*name && (*name == *spelling || (*name == '-' && *spelling == '_')))
                name++, spelling++;

        return !*name && !*spelling;
}

/* Finds the spelling of a declared name: libkmod turns every '-' of modprobe.d into '_'. Roles and regions have the
 * real names. */
static const char *respell(const HeapRegistry *registry, const char *name) {
        for (const Role *role = registry->roles; role; role = role->next)
                for (char **entry = role->heaps; *entry; entry++)
                        if (is_spelt(*entry, name))
                                return *entry;
        for (const Region *region = registry->regions; region; region = region->next)
                if (is_spelt(region->name, name))
                        return region->name;
        return name;
}

int heap_registry_declare(HeapRegistry *registry, const char *name, const char *module, bool installed) {
        Heap *heap;
        int r = heap_registry_get(registry, respell(registry, name), &heap);
        if (r < 0)
                return r;

        if (!streq_ptr(heap->module, module)) {
                char *copy = strdup(module);
                if (!copy)
                        return -ENOMEM;

                free(heap->module);
                heap->module = copy;
        }

        heap->declared = heap->declared || installed;
        return 0;
}

void heap_registry_scan_end(HeapRegistry *registry) {
        bool changed = false;

        for (Heap *heap = registry->heaps; heap; heap = heap->next) {
                HeapState before = heap->state;

                /* After a failed load a heap stays failed until the next load: the scan may see the same module. */
                if (heap->state == HEAP_LOADABLE || (heap->state == HEAP_FAILED && !heap->reason))
                        heap_reset(heap);

                changed = changed || heap->state != before;
        }

        if (changed)
                heap_registry_changed(registry);
}

int heap_registry_failed(
                HeapRegistry *registry, const char *name, const char *module, const char *reason, uint64_t now) {
        Heap *heap;
        int r = heap_registry_get(registry, name, &heap);
        if (r < 0)
                return r;

        if (module && !streq_ptr(heap->module, module)) {
                char *module_copy = strdup(module);
                if (!module_copy)
                        return -ENOMEM;

                free(heap->module);
                heap->module = module_copy;
        }

        char *reason_copy = strdup(reason);
        if (!reason_copy)
                return -ENOMEM;

        bool changed = heap->state != HEAP_FAILED || !streq_ptr(heap->reason, reason);

        free(heap->reason);
        heap->reason = reason_copy;
        heap->state = HEAP_FAILED;
        heap->failed_at = now;
        if (changed)
                heap_registry_changed(registry);
        return 0;
}

void heap_registry_regions_begin(HeapRegistry *registry) {
        for (Region *region = registry->regions; region; region = region->next)
                region->present = false;
}

int heap_registry_add_region(HeapRegistry *registry, const char *name, uint64_t size, bool is_default) {
        for (Region *region = registry->regions; region; region = region->next)
                if (streq(region->name, name)) {
                        bool changed = (size > 0 && size != region->size) || (is_default && !region->is_default);

                        region->present = true;
                        region->size = size > 0 ? size : region->size;
                        region->is_default = region->is_default || is_default;
                        if (changed) {
                                registry_find_regions(registry);
                                heap_registry_changed(registry);
                        }
                        return 0;
                }

        _cleanup_(region_freep) Region *region = calloc(1, sizeof(Region));
        if (!region)
                return -ENOMEM;
        region->name = strdup(name);
        if (!region->name)
                return -ENOMEM;

        region->size = size;
        region->is_default = is_default;
        region->present = true;
        LIST_PREPEND(registry->regions, TAKE_PTR(region));
        registry_find_regions(registry);
        heap_registry_changed(registry);
        return 0;
}

void heap_registry_regions_end(HeapRegistry *registry) {
        bool changed = false;

        for (Region *region = registry->regions, *next; region; region = next) {
                next = region->next;
                if (region->present)
                        continue;

                (void) LIST_REMOVE(registry->regions, region);
                region_free(region);
                changed = true;
        }

        if (changed) {
                registry_find_regions(registry);
                heap_registry_changed(registry);
        }
}

const char *heap_registry_heap_of(const HeapRegistry *registry, const Region *region) {
        return region_of(registry, HEAP_DEFAULT_CMA_REGION) == region ? HEAP_DEFAULT_CMA_REGION : region->name;
}

bool heap_registry_is_served(const HeapRegistry *registry, const Region *region) {
        for (const Heap *heap = registry->heaps; heap; heap = heap->next)
                if (heap->state == HEAP_READY && heap->region == region)
                        return true;
        return false;
}

bool heap_registry_kernel_charges(const HeapRegistry *registry, const Heap *heap) {
        /* udmabuf's pages are those of a memfd, which the kernel always charges. */
        return heap->kind == HEAP_KIND_UDMABUF || (heap->kind == HEAP_KIND_SYSTEM && registry->mem_accounting);
}

static bool entry_matches(const char *entry, const char *heap_name) {
        size_t n = strlen(entry);

        if (n > 0 && entry[n - 1] == '*')
                return strncmp(entry, heap_name, n - 1) == 0;

        return streq(entry, heap_name);
}

bool heap_registry_shows(const HeapRegistry *registry, const Heap *heap) {
        if (heap->state == HEAP_READY)
                return true;
        if (heap->state == HEAP_FAILED)
                return heap->reason != NULL;

        /* modprobe.d declares cma_heap for every name that a board may give its region. Only names of this board are
         * shown. */
        return !registry->regions_known || heap->region || !names_a_region(registry, heap->name);
}

bool role_serves(const Role *role, const Heap *heap) {
        for (char **entry = role->heaps; *entry; entry++)
                if (entry_matches(*entry, heap->name))
                        return true;

        return role->other_regions && heap->region;
}

/* The turn in which a heap is tried: first those that need no load, then the rest. udmabuf stands in for heaps that
 * this kernel does not have, so it comes after those that have a module, but before those whose module failed. A heap
 * that is neither ready nor declared for a module is not tried. */
#define TURNS 4

static int heap_turn(const Heap *heap, bool udmabuf_is_ready) {
        if (heap->state == HEAP_READY)
                return heap->kind == HEAP_KIND_UDMABUF ? 2 : 0;
        if (!heap->module)
                return TURNS;
        return heap->state == HEAP_FAILED && udmabuf_is_ready ? 3 : 1;
}

/* heaps is NULL-terminated and has room. */
static void candidates_add(Heap **heaps, Heap *heap) {
        while (*heaps && *heaps != heap)
                heaps++;

        *heaps = heap;
}

int heap_registry_candidates(HeapRegistry *registry, const char *role_name, Heap ***ret) {
        const Role *role = find_role(registry, role_name);
        size_t n_heaps = 0;

        if (!role)
                return -ENOENT;

        for (Heap *heap = registry->heaps; heap; heap = heap->next)
                n_heaps++;

        _cleanup_free_ Heap **heaps = calloc(n_heaps + 1, sizeof(Heap *));
        if (!heaps)
                return -ENOMEM;

        const Heap *udmabuf = heap_registry_find(registry, HEAP_UDMABUF);
        bool udmabuf_is_ready = udmabuf && udmabuf->state == HEAP_READY && role_serves(role, udmabuf);

        /* In each turn, the heaps that the role lists come before those of other regions. */
        for (int turn = 0; turn < TURNS; turn++) {
                for (char **entry = role->heaps; *entry; entry++)
                        for (Heap *heap = registry->heaps; heap; heap = heap->next)
                                if (heap_turn(heap, udmabuf_is_ready) == turn && entry_matches(*entry, heap->name))
                                        candidates_add(heaps, heap);

                for (Heap *heap = registry->heaps; heap; heap = heap->next)
                        if (heap_turn(heap, udmabuf_is_ready) == turn && role_serves(role, heap))
                                candidates_add(heaps, heap);
        }

        if (!heaps[0])
                return -ENOENT;

        *ret = TAKE_PTR(heaps);
        return 0;
}
