/* SPDX-License-Identifier: MIT */
/*
 * Errors of the daemon and of this process.
 *
 * Invariant: the errno of an error depends on its varlink name or its cause alone, never on its parameters, on
 * ret_error or on whether memory is short.
 */

#include <inttypes.h>

#include <systemd/sd-varlink.h>

#include "error.h"
#include "method.h"
#include "parse.h"
#include "shared/amount.h"

static const char *const scope_names[] = {
        [DMAHEAP_SCOPE_CLIENT] = "client",
        [DMAHEAP_SCOPE_USER] = "user",
        [DMAHEAP_SCOPE_HEAP] = "heap",
        [DMAHEAP_SCOPE_CGROUP] = "cgroup",
        [DMAHEAP_SCOPE_SYSTEM] = "system",
};

static const char *const resource_names[] = {
        [DMAHEAP_RESOURCE_BYTES] = "bytes",
        [DMAHEAP_RESOURCE_BUFFERS] = "buffers",
};

/* Each error that the daemon may send: its reason and errno, and the field of its parameters that becomes the
 * detail. */
static const struct {
        const char *name;
        DmaHeapReason reason;
        int error;
        const char *detail;
} errors[] = {
        { INTERFACE ".NoSuchHeap", DMAHEAP_NO_SUCH_HEAP, ENOENT, NULL },
        { INTERFACE ".HeapUnavailable", DMAHEAP_HEAP_UNAVAILABLE, ENODEV, "reason" },
        { INTERFACE ".QuotaExceeded", DMAHEAP_QUOTA_EXCEEDED, EDQUOT, NULL },
        { INTERFACE ".OutOfMemory", DMAHEAP_OUT_OF_MEMORY, ENOMEM, NULL },
        { INTERFACE ".OutOfResources", DMAHEAP_OUT_OF_RESOURCES, EAGAIN, "resource" },
        { INTERFACE ".TimedOut", DMAHEAP_TIMED_OUT, ETIME, NULL },
        { SD_VARLINK_ERROR_INVALID_PARAMETER, DMAHEAP_INVALID_PARAMETER, EINVAL, "parameter" },
        { SD_VARLINK_ERROR_PERMISSION_DENIED, DMAHEAP_PERMISSION_DENIED, EPERM, NULL },
        { SD_VARLINK_ERROR_METHOD_NOT_FOUND, DMAHEAP_NOT_SUPPORTED, EOPNOTSUPP, "method" },
        { SD_VARLINK_ERROR_METHOD_NOT_IMPLEMENTED, DMAHEAP_NOT_SUPPORTED, EOPNOTSUPP, "method" },
        { SD_VARLINK_ERROR_INTERFACE_NOT_FOUND, DMAHEAP_NOT_SUPPORTED, EOPNOTSUPP, "interface" },
};

static const char *or_unknown(const char *s) {
        return s ?: "unknown";
}

/* Prints an amount for a message: "3" for buffers, "512 bytes" or "1.5G" for bytes. Returns its buffer. */
static const char *format_amount(DmaHeapResource resource, uint64_t n, char buffer[static 64]) {
        uint64_t tenths;
        char unit;

        if (resource != DMAHEAP_RESOURCE_BYTES)
                (void) snprintf(buffer, 64, "%" PRIu64, n);
        else if (n < 1024)
                (void) snprintf(buffer, 64, "%" PRIu64 " bytes", n);
        else {
                unit = amount_scale(&n, &tenths);
                if (tenths == 0)
                        (void) snprintf(buffer, 64, "%" PRIu64 "%c", n, unit);
                else
                        (void) snprintf(buffer, 64, "%" PRIu64 ".%" PRIu64 "%c", n, tenths, unit);
        }
        return buffer;
}

static const char *quota_message(DmaHeapError *e) {
        char limit[64], used[64], requested[64];
        const char *unit = e->quota.resource == DMAHEAP_RESOURCE_BUFFERS ? " buffers" : "";
        const char *scope = scope_names[e->quota.scope];

        return arena_printf(&e->arena,
                        "over the limit of the %s%s%s: %s%s allowed, %s in use, %s more asked for",
                        scope ?: "allocation",
                        e->quota.name ? " " : "",
                        e->quota.name ?: "",
                        format_amount(e->quota.resource, e->quota.limit, limit),
                        unit,
                        format_amount(e->quota.resource, e->quota.used, used),
                        format_amount(e->quota.resource, e->quota.requested, requested));
}

static const char *message_for(DmaHeapError *e) {
        Arena *a = &e->arena;

        switch (e->reason) {
        case DMAHEAP_NO_SUCH_HEAP:
                if (e->role)
                        return arena_printf(a, "no heap for the role '%s'", e->role);
                return arena_printf(a, "no heap named '%s'", or_unknown(e->heap));
        case DMAHEAP_HEAP_UNAVAILABLE:
                return arena_printf(a, "the heap '%s' cannot be used: %s", or_unknown(e->heap), or_unknown(e->detail));
        case DMAHEAP_QUOTA_EXCEEDED:
                return quota_message(e);
        case DMAHEAP_OUT_OF_MEMORY:
                return arena_printf(a, "no memory left for the heap '%s'", or_unknown(e->heap));
        case DMAHEAP_OUT_OF_RESOURCES:
                return arena_printf(a, "the daemon is short of %s", or_unknown(e->detail));
        case DMAHEAP_TIMED_OUT:
                return arena_printf(a, "the heap '%s' took too long", or_unknown(e->heap));
        case DMAHEAP_INVALID_PARAMETER:
                return arena_printf(a, "the parameter '%s' makes no sense", or_unknown(e->detail));
        case DMAHEAP_PERMISSION_DENIED:
                return "not permitted";
        case DMAHEAP_NOT_SUPPORTED:
                return arena_printf(a, "the daemon does not know '%s'", or_unknown(e->detail));
        default:
                return arena_printf(a, "the daemon reported %s", or_unknown(e->name));
        }
}

/* Reads the parameters of the daemon's error. A field that is missing or has another type is left unset: it must not
 * hide the error itself. */
static void read_fields(DmaHeapError *e, sd_json_variant *parameters, const char *detail) {
        Arena *a = &e->arena;

        if (!sd_json_variant_is_object(parameters))
                return;

        (void) field_string(a, parameters, "heap", FIELD_OPTIONAL, &e->heap);
        (void) field_string(a, parameters, "role", FIELD_OPTIONAL, &e->role);
        if (detail)
                (void) field_string(a, parameters, detail, FIELD_OPTIONAL, &e->detail);
        if (e->reason != DMAHEAP_QUOTA_EXCEEDED)
                return;

        e->quota.scope = field_enum(parameters, "scope", scope_names, ELEMENTS_OF(scope_names));
        e->quota.resource = field_enum(parameters, "resource", resource_names, ELEMENTS_OF(resource_names));
        (void) field_string(a, parameters, "name", FIELD_OPTIONAL, &e->quota.name);
        (void) field_u64(parameters, "limit", FIELD_OPTIONAL, &e->quota.limit);
        (void) field_u64(parameters, "used", FIELD_OPTIONAL, &e->quota.used);
        (void) field_u64(parameters, "requested", FIELD_OPTIONAL, &e->quota.requested);
}

/* Makes an error. Returns NULL if ret_error is NULL or memory is short. */
static DmaHeapError *error_new(DmaHeapReason reason, int error, DmaHeapError **ret_error) {
        DmaHeapError *e = ret_error ? calloc(1, sizeof(*e)) : NULL;

        if (!e)
                return NULL;
        e->reason = reason;
        e->error = error;
        return e;
}

int error_from_varlink(const char *name, sd_json_variant *parameters, DmaHeapError **ret_error) {
        const char *detail = NULL;
        DmaHeapReason reason = DMAHEAP_OTHER;
        int error = -EREMOTEIO;
        DmaHeapError *e;

        for (size_t i = 0; i < ELEMENTS_OF(errors); i++)
                if (streq_ptr(errors[i].name, name)) {
                        reason = errors[i].reason;
                        error = -errors[i].error;
                        detail = errors[i].detail;
                }

        e = error_new(reason, error, ret_error);
        if (!e)
                return error;

        e->name = arena_strdup(&e->arena, name);
        read_fields(e, parameters, detail);
        e->message = message_for(e);

        *ret_error = e;
        return error;
}

int error_set(DmaHeapError **ret_error, DmaHeapReason reason, int error, const char *format, ...) {
        int saved_errno = errno;
        DmaHeapError *e;
        va_list ap;

        e = error_new(reason, error, ret_error);
        if (!e)
                return error;

        errno = saved_errno; /* for %m */
        va_start(ap, format);
        e->message = e->detail = arena_vprintf(&e->arena, format, ap);
        va_end(ap);

        *ret_error = e;
        return error;
}

int error_from_link(int r, const char *what, DmaHeapError **ret_error) {
        switch (r) {
        case -ENOMEM:
                return r;
        case -EMFILE:
        case -ENFILE:
        case -ECHRNG: /* sd-varlink: fds of the message were lost, as this process has no room for them */
                return -EMFILE;
        case -ETIME:
        case -ETIMEDOUT:
                return error_set(ret_error, DMAHEAP_NO_ANSWER, -ETIMEDOUT, "no answer to %s in time", what);
        case -EPROTO:
        case -EBADMSG:
                return error_set(ret_error, DMAHEAP_PROTOCOL, -EPROTO, "the answer to %s makes no sense", what);
        default:
                return error_set(ret_error,
                                DMAHEAP_DISCONNECTED,
                                -ECONNRESET,
                                "the daemon went away before it had answered %s",
                                what);
        }
}

DmaHeapReason dmaheap_error_reason(const DmaHeapError *error) {
        return error ? error->reason : DMAHEAP_OTHER;
}

int dmaheap_error_errno(const DmaHeapError *error) {
        return error ? error->error : 0;
}

const char *dmaheap_error_name(const DmaHeapError *error) {
        return error ? error->name : NULL;
}

const char *dmaheap_error_message(const DmaHeapError *error) {
        return error && error->message ? error->message : "unknown error";
}

const char *dmaheap_error_heap(const DmaHeapError *error) {
        return error ? error->heap : NULL;
}

const char *dmaheap_error_role(const DmaHeapError *error) {
        return error ? error->role : NULL;
}

const char *dmaheap_error_detail(const DmaHeapError *error) {
        return error ? error->detail : NULL;
}

const DmaHeapQuota *dmaheap_error_quota(const DmaHeapError *error) {
        return error && error->reason == DMAHEAP_QUOTA_EXCEEDED ? &error->quota : NULL;
}

DmaHeapError *dmaheap_error_free(DmaHeapError *error) {
        if (!error)
                return NULL;

        arena_done(&error->arena);
        free(error);
        return NULL;
}
