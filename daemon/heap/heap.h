/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "util/heap-name.h"
#include "util/macro.h"
#include "util/strv.h"

/* The role of a request that names neither heap nor role. */
#define HEAP_ROLE_DEFAULT "system"

/* The name that upstream's cma_heap gives the default area, beside the area's own name. */
#define HEAP_DEFAULT_CMA_REGION "default_cma_region"

/* The kernel's /dev/udmabuf: it is no dma-buf heap, but is listed as one, since a worker can make a dma-buf with it. */
#define HEAP_UDMABUF "udmabuf"

typedef enum HeapState {
        HEAP_READY,    /* the kernel has it */
        HEAP_LOADABLE, /* a module is declared for it and installed */
        HEAP_FAILED,   /* neither; if the last attempt to load its module failed, reason says why */
} HeapState;

typedef enum HeapKind {
        HEAP_KIND_DMA_HEAP, /* a node below /dev/dma_heap */
        HEAP_KIND_SYSTEM,   /* likewise; the one that dma_heap.mem_accounting is about */
        HEAP_KIND_UDMABUF,  /* /dev/udmabuf */
} HeapKind;

/* A CMA area of the kernel that heaps can serve (Documentation/ABI/testing/sysfs-kernel-mm-cma). */
typedef struct Region Region;
struct Region {
        Region *next;
        char *name;
        uint64_t size; /* bytes; 0 when the kernel does not say */
        bool is_default;
        bool present;    /* seen by the current enumeration */
        bool load_tried; /* its heap's module was loaded for it, or is left until a client asks */
};

/* A heap of the registry lives as long as the registry, so others may keep its address. */
typedef struct Heap Heap;
struct Heap {
        Heap *next;
        char *name;
        HeapKind kind;
        HeapState state;
        const Region *region; /* that it draws from, or NULL; kept up to date by the registry */
        char *reason;         /* HEAP_FAILED: why */
        char *module;         /* the module declared for it, or NULL */
        bool declared;        /* the last scan found a module for it that is installed */
        uint64_t failed_at;   /* HEAP_FAILED: CLOCK_BOOTTIME in µs */
        uint64_t bytes_used;  /* of living buffers that were handed out from it */
};

/* A purpose for which clients ask for a heap. The configuration owns the roles. */
typedef struct Role Role;
struct Role {
        Role *next;
        char *name;
        char **heaps;       /* best first, NULL-terminated; one that ends in '*' stands for all names that begin so */
        bool other_regions; /* after those, any other heap that has a region serves too */
};

/* Called after anything that ListHeaps shows has changed, from within the function that has changed it. It must only
 * note that: it frees nothing and calls nobody back. */
typedef void (*heap_changed_t)(void *userdata);

typedef struct HeapRegistry {
        Heap *heaps; /* by name */
        Region *regions;
        const Role *roles;   /* the first one; borrowed */
        bool regions_known;  /* false where the kernel reports no regions at all (CONFIG_CMA_SYSFS=n) */
        bool mem_accounting; /* dma_heap.mem_accounting of the running kernel */
        heap_changed_t on_changed;
        void *userdata;
} HeapRegistry;

/* Sets up an empty registry; on_changed may be NULL. */
void heap_registry_init(HeapRegistry *registry, heap_changed_t on_changed, void *userdata);
void heap_registry_done(HeapRegistry *registry);

/* Replaces all roles by the list that begins with `roles`, or by none if it is NULL. The list is borrowed: it must live
 * until the next call or heap_registry_done(). */
void heap_registry_set_roles(HeapRegistry *registry, const Role *roles);

/* Calls on_changed. Call it after changing what ListHeaps shows (bytes_used, for one). on_changed must only note it: it
 * frees nothing and calls nobody back. */
void heap_registry_changed(HeapRegistry *registry);

/* Path of the device that allocates for a heap. Returns 0, or -ENAMETOOLONG. */
int heap_device_path(const Heap *heap, char *buffer, size_t size);

/* A heap that only has the name, the kind and the region of one: for questions about a heap that the registry does not
 * know. Good until the registry changes or name goes. */
Heap heap_registry_stranger(const HeapRegistry *registry, const char *name);

/* The heap of that name, or NULL. */
Heap *heap_registry_find(HeapRegistry *registry, const char *name);

/* The heap of that name, added as HEAP_FAILED without a reason if it is new. Returns 0 or -ENOMEM. */
int heap_registry_get(HeapRegistry *registry, const char *name, Heap **ret);

/* The kernel has this heap now; or no longer has it (drivers other than heap modules can be unbound). 0 or -ENOMEM. */
int heap_registry_appeared(HeapRegistry *registry, const char *name);
void heap_registry_vanished(HeapRegistry *registry, const char *name);

/* One scan of the declared modules: begin, once per declaration, end. `installed` is false where the module is declared
 * but cannot be had. Heaps that are neither ready nor declared any more are HEAP_FAILED without a reason at the end. */
void heap_registry_scan_begin(HeapRegistry *registry);
int heap_registry_declare(HeapRegistry *registry, const char *name, const char *module, bool installed);
void heap_registry_scan_end(HeapRegistry *registry);

/* The attempt to make a heap ready failed; now is now_usec(). module may be NULL; module and reason are copied. 0 or
 * -ENOMEM. */
int heap_registry_failed(
                HeapRegistry *registry, const char *name, const char *module, const char *reason, uint64_t now);

/* One enumeration of the regions: begin, once per region, end. Regions that were not added are freed at the end. size
 * is in bytes, 0 if unknown; a size or a default that is not told again stays. 0 or -ENOMEM. */
void heap_registry_regions_begin(HeapRegistry *registry);
int heap_registry_add_region(HeapRegistry *registry, const char *name, uint64_t size, bool is_default);
void heap_registry_regions_end(HeapRegistry *registry);

/* The name of the heap that would serve a region, and whether a heap does. */
const char *heap_registry_heap_of(const HeapRegistry *registry, const Region *region);
bool heap_registry_is_served(const HeapRegistry *registry, const Region *region);

/* Whether the kernel charges the memory cgroup of the allocating task for this heap's pages. */
bool heap_registry_kernel_charges(const HeapRegistry *registry, const Heap *heap);

/* Whether ListHeaps shows this heap: it is ready, it could be loaded, or a load of it failed. */
bool heap_registry_shows(const HeapRegistry *registry, const Heap *heap);

/* Size in bytes of the heap's region, the largest possible buffer; 0 if unknown, and for a heap without a region. */
static inline uint64_t heap_size_max(const Heap *heap) {
        return heap->region ? heap->region->size : 0;
}

/* Whether a heap may be chosen for a role. */
bool role_serves(const Role *role, const Heap *heap);

/* The heaps to try for a role, best first: ready ones in the role's order, then the rest in that order, of
 * which udmabuf, ready or not, is followed only by those that have failed.
 *
 * Returns 0 and a NULL-terminated array that the caller frees, -ENOENT for an unknown role or one that no
 * heap serves, -ENOMEM. */
int heap_registry_candidates(HeapRegistry *registry, const char *role, Heap ***ret);
