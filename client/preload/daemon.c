/* SPDX-License-Identifier: MIT */
/*
 * Questions to the daemon.
 *
 * Invariant: no connection and no reply outlives the question it was made for, so that fork() and exec() of the
 * program, which this library cannot see, leave nothing behind.
 */

#include "daemon.h"
#include "shared/cleanup.h"

static bool verbose(void) {
        const char *v = secure_getenv("DMAHEAP_RUN_VERBOSE");

        return v && *v && strcmp(v, "0") != 0;
}

static void say(const char *what, const char *heap, int r, const DmaHeapError *error) {
        if (verbose())
                (void) fprintf(stderr,
                                "dmaheap-run: %s%s%s: %s\n",
                                what,
                                *heap ? " " : "",
                                heap,
                                error ? dmaheap_error_message(error) : strerror(-r));
}

bool heap_is_there(const DmaHeapInfo *heap) {
        return heap->state == DMAHEAP_STATE_READY || heap->state == DMAHEAP_STATE_LOADABLE;
}

int daemon_list(DmaHeapReply **ret) {
        DmaHeapConnection *c = NULL;
        DmaHeapError *error = NULL;
        int r;

        r = dmaheap_connection_new(NULL, &c);
        if (r < 0)
                return r;
        r = dmaheap_list_heaps(c, ret, &error);
        if (r < 0)
                say("cannot ask for the heaps", "", r, error);
        (void) dmaheap_error_free(error);
        (void) dmaheap_connection_free(c);
        return r;
}

int daemon_has_heap(const char *name) {
        const DmaHeapInfo *const *heaps;
        DmaHeapReply *reply = NULL;
        int saved_errno = errno, r, found = 0;
        size_t n;

        r = daemon_list(&reply);
        if (r >= 0) {
                heaps = dmaheap_reply_heaps(reply, &n);
                for (size_t i = 0; i < n; i++)
                        if (strcmp(heaps[i]->name, name) == 0)
                                found = heap_is_there(heaps[i]);
                (void) dmaheap_reply_free(reply);
        }
        errno = saved_errno;
        return r < 0 ? r : found;
}

/* Translates an errno of dmaheap_allocate() to one of DMA_HEAP_IOCTL_ALLOC. The ioctl has no quotas and no daemon:
 * every refusal for lack of something becomes -ENOMEM, and a daemon that cannot be reached -EIO. */
static int kernel_errno(int r, const DmaHeapError *error) {
        switch (r) {
        case -EINVAL:
                /* The kernel's heaps answer -ENOMEM when the size is more than they have. */
                return streq_ptr(dmaheap_error_detail(error), "size") ? -ENOMEM : -EINVAL;
        case -EDQUOT:
        case -ENOMEM:
        case -EAGAIN:
        case -ETIME:
                return -ENOMEM;
        case -ENOENT:
        case -ENODEV:
                return -ENODEV;
        case -EPERM:
                return -EACCES;
        case -EMFILE:
                return -EMFILE;
        default:
                return -EIO;
        }
}

int daemon_allocate(const char *heap, uint64_t size, bool read_only) {
        DmaHeapConnection *c = NULL;
        DmaHeapReply *reply = NULL;
        DmaHeapError *error = NULL;
        int r;

        r = dmaheap_connection_new(NULL, &c);
        if (r < 0)
                return kernel_errno(r, NULL);

        r = dmaheap_allocate(c,
                        &(DmaHeapRequest) {
                                .heap = heap,
                                .size = size,
                                .flags = read_only ? DMAHEAP_READ_ONLY : 0,
                        },
                        &reply,
                        &error);
        if (r < 0) {
                say("cannot allocate from", heap, r, error);
                r = kernel_errno(r, error);
        } else
                r = dmaheap_reply_take_fd(reply, 0);

        (void) dmaheap_error_free(error);
        (void) dmaheap_reply_free(reply);
        (void) dmaheap_connection_free(c);
        return r;
}
