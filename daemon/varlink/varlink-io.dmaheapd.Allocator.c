/* SPDX-License-Identifier: GPL-2.0-only */

/* The interface description, as data. Invariant: it has all calls, replies and errors of the daemon, and no others; its
 * comments are part of it, and clients can read them. tests/house/check-interface.py compares it with the client
 * library, the command and the manuals. */

#include "varlink/varlink-io.dmaheapd.Allocator.h"

/* An enumeration that is defined in its field and has no name. */
#define DEFINE_INLINE_ENUM(identifier, ...)           \
        static const sd_varlink_symbol identifier = { \
                .symbol_type = SD_VARLINK_ENUM_TYPE,  \
                .fields = { __VA_ARGS__, {} },        \
        }
#define FIELD_INLINE_ENUM(field, enumeration) \
        { .name = #field, .field_type = SD_VARLINK_ENUM, .symbol = &(enumeration) }
#define INPUT_INLINE_ENUM(field, enumeration, flags) \
        { .name = #field,                            \
                .field_type = SD_VARLINK_ENUM,       \
                .field_flags = (flags),              \
                .field_direction = SD_VARLINK_INPUT, \
                .symbol = &(enumeration) }

/* One symbol or field a line, in the order of the interface. */
/* clang-format off */

DEFINE_INLINE_ENUM(
                enum_state,
                SD_VARLINK_DEFINE_ENUM_VALUE(ready),
                SD_VARLINK_DEFINE_ENUM_VALUE(loadable),
                SD_VARLINK_DEFINE_ENUM_VALUE(failed));

DEFINE_INLINE_ENUM(
                enum_accounting,
                SD_VARLINK_DEFINE_ENUM_VALUE(kernel),
                SD_VARLINK_DEFINE_ENUM_VALUE(daemon));

DEFINE_INLINE_ENUM(
                enum_access,
                SD_VARLINK_DEFINE_ENUM_VALUE(readWrite),
                SD_VARLINK_DEFINE_ENUM_VALUE(readOnly));

DEFINE_INLINE_ENUM(
                enum_scope,
                SD_VARLINK_DEFINE_ENUM_VALUE(client),
                SD_VARLINK_DEFINE_ENUM_VALUE(user),
                SD_VARLINK_DEFINE_ENUM_VALUE(heap),
                SD_VARLINK_DEFINE_ENUM_VALUE(cgroup),
                SD_VARLINK_DEFINE_ENUM_VALUE(system));

DEFINE_INLINE_ENUM(
                enum_resource,
                SD_VARLINK_DEFINE_ENUM_VALUE(bytes),
                SD_VARLINK_DEFINE_ENUM_VALUE(buffers));

static SD_VARLINK_DEFINE_STRUCT_TYPE(
                Heap,
                SD_VARLINK_FIELD_COMMENT("Name of the heap: that of its node under /dev/dma_heap, or 'udmabuf'"),
                SD_VARLINK_DEFINE_FIELD(name, SD_VARLINK_STRING, 0),
                SD_VARLINK_FIELD_COMMENT("'ready': the kernel has it; 'loadable': a module that would provide it is "
                                         "installed; 'failed': the last attempt to load that module failed"),
                FIELD_INLINE_ENUM(state, enum_state),
                SD_VARLINK_FIELD_COMMENT("Why it failed, in words for an administrator"),
                SD_VARLINK_DEFINE_FIELD(reason, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("The roles this heap may be chosen for"),
                SD_VARLINK_DEFINE_FIELD(roles, SD_VARLINK_STRING, SD_VARLINK_ARRAY),
                SD_VARLINK_FIELD_COMMENT("The kernel module that provides it, where one is known"),
                SD_VARLINK_DEFINE_FIELD(module, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("Who charges a client's cgroup for the pages of its buffers: the kernel's "
                                         "memory controller, or dmaheapd by its own arithmetic"),
                FIELD_INLINE_ENUM(accounting, enum_accounting),
                SD_VARLINK_FIELD_COMMENT("The CMA region it draws from; heaps of one region share its budget"),
                SD_VARLINK_DEFINE_FIELD(region, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("Size in bytes of what a bounded heap draws from"),
                SD_VARLINK_DEFINE_FIELD(size, SD_VARLINK_INT, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("Bytes of the buffers that dmaheapd handed out from it and that are still "
                                         "alive"),
                SD_VARLINK_DEFINE_FIELD(used, SD_VARLINK_INT, 0));

static SD_VARLINK_DEFINE_STRUCT_TYPE(
                Buffer,
                SD_VARLINK_FIELD_COMMENT("Index of the dma-buf among the file descriptors of this reply"),
                SD_VARLINK_DEFINE_FIELD(fileDescriptor, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("Identity of the buffer: the dma-buf's inode number, unique until reboot"),
                SD_VARLINK_DEFINE_FIELD(id, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("Size in bytes, a multiple of the page size"),
                SD_VARLINK_DEFINE_FIELD(size, SD_VARLINK_INT, 0));

static SD_VARLINK_DEFINE_STRUCT_TYPE(
                Usage,
                SD_VARLINK_FIELD_COMMENT("Bytes of living buffers"),
                SD_VARLINK_DEFINE_FIELD(bytesUsed, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("The most bytes allowed; null where there is no limit"),
                SD_VARLINK_DEFINE_FIELD(bytesMax, SD_VARLINK_INT, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("Number of living buffers"),
                SD_VARLINK_DEFINE_FIELD(buffersUsed, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("The most buffers allowed; null where there is no limit"),
                SD_VARLINK_DEFINE_FIELD(buffersMax, SD_VARLINK_INT, SD_VARLINK_NULLABLE));

static SD_VARLINK_DEFINE_STRUCT_TYPE(
                HeapUsage,
                SD_VARLINK_FIELD_COMMENT("Name of the heap"),
                SD_VARLINK_DEFINE_FIELD(heap, SD_VARLINK_STRING, 0),
                SD_VARLINK_FIELD_COMMENT("Bytes of the client's living buffers from this heap"),
                SD_VARLINK_DEFINE_FIELD(bytesUsed, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("The most bytes this client may hold from this heap; null where there is no "
                                         "limit"),
                SD_VARLINK_DEFINE_FIELD(bytesMax, SD_VARLINK_INT, SD_VARLINK_NULLABLE));

static SD_VARLINK_DEFINE_STRUCT_TYPE(
                Client,
                SD_VARLINK_FIELD_COMMENT("The innermost systemd unit; null where there is none"),
                SD_VARLINK_DEFINE_FIELD(unit, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("Path of the control group, from the root of the hierarchy"),
                SD_VARLINK_DEFINE_FIELD(cgroup, SD_VARLINK_STRING, 0),
                SD_VARLINK_FIELD_COMMENT("User id as it was when the client connected"),
                SD_VARLINK_DEFINE_FIELD(uid, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("User that the bytes count for: the owner of the enclosing user slice, else "
                                         "the user id"),
                SD_VARLINK_DEFINE_FIELD(user, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("Number of open connections"),
                SD_VARLINK_DEFINE_FIELD(connections, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("What it holds in all, and its limits"),
                SD_VARLINK_DEFINE_FIELD_BY_TYPE(usage, Usage, 0),
                SD_VARLINK_FIELD_COMMENT("What it holds of each heap, and its limits there"),
                SD_VARLINK_DEFINE_FIELD_BY_TYPE(heaps, HeapUsage, SD_VARLINK_ARRAY));

static SD_VARLINK_DEFINE_STRUCT_TYPE(
                LiveBuffer,
                SD_VARLINK_FIELD_COMMENT("Identity of the buffer: the dma-buf's inode number"),
                SD_VARLINK_DEFINE_FIELD(id, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("Size in bytes"),
                SD_VARLINK_DEFINE_FIELD(size, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("Name of the heap it came from"),
                SD_VARLINK_DEFINE_FIELD(heap, SD_VARLINK_STRING, 0),
                SD_VARLINK_FIELD_COMMENT("What the client called it"),
                SD_VARLINK_DEFINE_FIELD(label, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("Unit of the client it was handed to"),
                SD_VARLINK_DEFINE_FIELD(unit, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("Control group of the client it was handed to, or 'unattributed'"),
                SD_VARLINK_DEFINE_FIELD(cgroup, SD_VARLINK_STRING, 0),
                SD_VARLINK_FIELD_COMMENT("User id of the client it was handed to"),
                SD_VARLINK_DEFINE_FIELD(uid, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("User whose limit it counts against"),
                SD_VARLINK_DEFINE_FIELD(user, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("When it was allocated, CLOCK_BOOTTIME in microseconds"),
                SD_VARLINK_DEFINE_FIELD(allocatedUSec, SD_VARLINK_INT, 0));

static SD_VARLINK_DEFINE_METHOD(
                Allocate,
                SD_VARLINK_FIELD_COMMENT("Name of the heap: 1 to 64 of A-Z a-z 0-9 . _ , @ + -, not starting with a "
                                         "dot. Excludes 'role'"),
                SD_VARLINK_DEFINE_INPUT(heap, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("What the heap is wanted for: 'system' (the default), 'contiguous', "
                                         "'protected', or a role of dmaheapd.conf(5)"),
                SD_VARLINK_DEFINE_INPUT(role, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("Size of each buffer in bytes, 1 to 2^47; rounded up to whole pages"),
                SD_VARLINK_DEFINE_INPUT(size, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("Number of buffers, 1 to 253; 1 by default. All of them are allocated, or "
                                         "none"),
                SD_VARLINK_DEFINE_INPUT(count, SD_VARLINK_INT, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("How the buffers may be mapped; 'readWrite' by default"),
                INPUT_INLINE_ENUM(access, enum_access, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("Name for the buffers, 1 to 31 bytes of printable ASCII; becomes the name of "
                                         "the dma-buf"),
                SD_VARLINK_DEFINE_INPUT(label, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("Name of the heap that served the request"),
                SD_VARLINK_DEFINE_OUTPUT(heap, SD_VARLINK_STRING, 0),
                SD_VARLINK_FIELD_COMMENT("The buffers; their file descriptors come with this reply"),
                SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(buffers, Buffer, SD_VARLINK_ARRAY));

static SD_VARLINK_DEFINE_METHOD_FULL(
                ListHeaps,
                SD_VARLINK_SUPPORTS_MORE,
                SD_VARLINK_FIELD_COMMENT("Every heap that exists or could be loaded"),
                SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(heaps, Heap, SD_VARLINK_ARRAY));

static SD_VARLINK_DEFINE_METHOD(
                GetUsage,
                SD_VARLINK_FIELD_COMMENT("What the calling client holds, and its limits"),
                SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(client, Usage, 0),
                SD_VARLINK_FIELD_COMMENT("What the calling client's user holds, and its limits"),
                SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(user, Usage, 0),
                SD_VARLINK_FIELD_COMMENT("What the calling client holds of each heap"),
                SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(heaps, HeapUsage, SD_VARLINK_ARRAY),
                SD_VARLINK_FIELD_COMMENT("Bytes that the client's cgroup and its ancestors can still take; null where "
                                         "none has a limit"),
                SD_VARLINK_DEFINE_OUTPUT(cgroupHeadroom, SD_VARLINK_INT, SD_VARLINK_NULLABLE));

static SD_VARLINK_DEFINE_METHOD(
                ListClients,
                SD_VARLINK_FIELD_COMMENT("Every client that is connected or holds buffers"),
                SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(clients, Client, SD_VARLINK_ARRAY));

static SD_VARLINK_DEFINE_METHOD(
                ListBuffers,
                SD_VARLINK_FIELD_COMMENT("Only buffers handed to clients of this unit"),
                SD_VARLINK_DEFINE_INPUT(unit, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("Only buffers handed to clients of this user id"),
                SD_VARLINK_DEFINE_INPUT(uid, SD_VARLINK_INT, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("The buffers that are still alive"),
                SD_VARLINK_DEFINE_OUTPUT_BY_TYPE(buffers, LiveBuffer, SD_VARLINK_ARRAY));

static SD_VARLINK_DEFINE_ERROR(
                NoSuchHeap,
                SD_VARLINK_FIELD_COMMENT("The heap that was asked for"),
                SD_VARLINK_DEFINE_FIELD(heap, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("The role that was asked for"),
                SD_VARLINK_DEFINE_FIELD(role, SD_VARLINK_STRING, SD_VARLINK_NULLABLE));

static SD_VARLINK_DEFINE_ERROR(
                HeapUnavailable,
                SD_VARLINK_FIELD_COMMENT("The heap that cannot be used now"),
                SD_VARLINK_DEFINE_FIELD(heap, SD_VARLINK_STRING, 0),
                SD_VARLINK_FIELD_COMMENT("Why, in words for an administrator"),
                SD_VARLINK_DEFINE_FIELD(reason, SD_VARLINK_STRING, 0));

static SD_VARLINK_DEFINE_ERROR(
                QuotaExceeded,
                SD_VARLINK_FIELD_COMMENT("Whose limit would be passed"),
                FIELD_INLINE_ENUM(scope, enum_scope),
                SD_VARLINK_FIELD_COMMENT("Which one of its kind: the unit, the user, the heap or the control group"),
                SD_VARLINK_DEFINE_FIELD(name, SD_VARLINK_STRING, SD_VARLINK_NULLABLE),
                SD_VARLINK_FIELD_COMMENT("What is limited"),
                FIELD_INLINE_ENUM(resource, enum_resource),
                SD_VARLINK_FIELD_COMMENT("The limit"),
                SD_VARLINK_DEFINE_FIELD(limit, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("What is in use, without this request"),
                SD_VARLINK_DEFINE_FIELD(used, SD_VARLINK_INT, 0),
                SD_VARLINK_FIELD_COMMENT("What this request asked for, rounded up to pages"),
                SD_VARLINK_DEFINE_FIELD(requested, SD_VARLINK_INT, 0));

static SD_VARLINK_DEFINE_ERROR(
                OutOfMemory,
                SD_VARLINK_FIELD_COMMENT("The heap that had no memory left"),
                SD_VARLINK_DEFINE_FIELD(heap, SD_VARLINK_STRING, 0));

static SD_VARLINK_DEFINE_ERROR(
                OutOfResources,
                SD_VARLINK_FIELD_COMMENT("What was short: 'processes', 'fileDescriptors', 'inFlight', 'cgroup', "
                                         "'connections' or 'ledger'"),
                SD_VARLINK_DEFINE_FIELD(resource, SD_VARLINK_STRING, 0));

static SD_VARLINK_DEFINE_ERROR(
                TimedOut,
                SD_VARLINK_FIELD_COMMENT("The heap that did not answer in time"),
                SD_VARLINK_DEFINE_FIELD(heap, SD_VARLINK_STRING, 0));

SD_VARLINK_DEFINE_INTERFACE(
                io_dmaheapd_Allocator,
                "io.dmaheapd.Allocator",
                SD_VARLINK_INTERFACE_COMMENT("Allocates dma-bufs from the kernel's dma-buf heaps, inside the client's "
                                             "control group."),
                SD_VARLINK_SYMBOL_COMMENT("A dma-buf heap, present or loadable"),
                &vl_type_Heap,
                SD_VARLINK_SYMBOL_COMMENT("A dma-buf that was just allocated"),
                &vl_type_Buffer,
                SD_VARLINK_SYMBOL_COMMENT("What is held, and how much may be"),
                &vl_type_Usage,
                SD_VARLINK_SYMBOL_COMMENT("What is held of one heap, and how much may be"),
                &vl_type_HeapUsage,
                SD_VARLINK_SYMBOL_COMMENT("A client: all connections of one unit and user id"),
                &vl_type_Client,
                SD_VARLINK_SYMBOL_COMMENT("A buffer that the kernel still holds"),
                &vl_type_LiveBuffer,
                SD_VARLINK_SYMBOL_COMMENT("Allocates buffers and passes them as file descriptors. Do not pipeline this "
                                          "call: wait for its reply before the next one, since the kernel may merge "
                                          "messages and their file descriptors."),
                &vl_method_Allocate,
                SD_VARLINK_SYMBOL_COMMENT("Lists the heaps. With 'more', answers again, whole, whenever something in "
                                          "the list has changed."),
                &vl_method_ListHeaps,
                SD_VARLINK_SYMBOL_COMMENT("Reports what the caller holds, from a census of the kernel's buffers begun "
                                          "after the call arrived."),
                &vl_method_GetUsage,
                SD_VARLINK_SYMBOL_COMMENT("Lists all clients, from a census begun after the call arrived. For root "
                                          "only."),
                &vl_method_ListClients,
                SD_VARLINK_SYMBOL_COMMENT("Lists living buffers, from a census begun after the call arrived. For root "
                                          "only."),
                &vl_method_ListBuffers,
                SD_VARLINK_SYMBOL_COMMENT("There is no such heap, and nobody declared a module for one of this name; "
                                          "or no heap serves this role"),
                &vl_error_NoSuchHeap,
                SD_VARLINK_SYMBOL_COMMENT("The heap is known but cannot be used"),
                &vl_error_HeapUnavailable,
                SD_VARLINK_SYMBOL_COMMENT("The request would pass a limit; nothing was allocated"),
                &vl_error_QuotaExceeded,
                SD_VARLINK_SYMBOL_COMMENT("The kernel had no memory for the request, or its out-of-memory killer ended "
                                          "it"),
                &vl_error_OutOfMemory,
                SD_VARLINK_SYMBOL_COMMENT("Something other than memory was short"),
                &vl_error_OutOfResources,
                SD_VARLINK_SYMBOL_COMMENT("The request was not done in time; nothing was allocated"),
                &vl_error_TimedOut);

/* clang-format on */
