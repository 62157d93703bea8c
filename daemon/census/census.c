/* SPDX-License-Identifier: GPL-2.0-only */

/* A buffer lives as long as anything refers to it: a descriptor in some process, one in a message that was not received
 * yet, a mapping, a device that has imported it. Only the kernel knows all of these. So the census asks the kernel for
 * a list of all dma-bufs, by inode number; the kernel never uses an inode number twice. A record of the ledger whose
 * inode is not in the list belongs to a buffer that is gone.
 *
 * There are two sources. The better one is a BPF program on the kernel's dma-buf iterator (census-bpf.c). The other is
 * a file in debugfs (census-bufinfo.c), for which the kernel takes the lock of each buffer in turn. Any process that
 * holds one of these locks can make the reader wait, so a census is taken in a child process, and the event loop
 * watches its pidfd.
 *
 * The invariant: a census is complete, or it is an error. An incomplete one would end the records of living buffers. */

#include <stdio.h>

#include "census/census-source.h"
#include "census/census.h"
#include "util/fd-util.h"

/* Room for two million buffers. */
#define RESULT_SIZE_MAX (64U * 1024U * 1024U)

static const CensusSource *const sources[] = {
        [CENSUS_METHOD_BPF] = &census_bpf,
        [CENSUS_METHOD_DEBUGFS] = &census_bufinfo,
};

struct Census {
        CensusMethod method;
        int source_fd; /* from the source's open(), or -EBADF */
        char *reason;
};

const char *census_method_to_string(CensusMethod method) {
        switch (method) {
        case CENSUS_METHOD_BPF:
                return "bpf";
        case CENSUS_METHOD_DEBUGFS:
                return "debugfs";
        case CENSUS_METHOD_NONE:
                break;
        }

        return "none";
}

CensusMethod census_method(const Census *census) {
        return census->method;
}

const char *census_reason(const Census *census) {
        return census->reason;
}

Census *census_free(Census *census) {
        if (!census)
                return NULL;

        safe_close(census->source_fd);
        free(census->reason);
        free(census);
        return NULL;
}

static int add_reason(Census *census, const char *reason) {
        char *reasons;

        if (asprintf(&reasons, "%s%s%s", census->reason ?: "", census->reason ? "; " : "", reason) < 0)
                return -ENOMEM;

        free(census->reason);
        census->reason = reasons;
        return 0;
}

int census_new(Census **ret) {
        _cleanup_(census_freep) Census *census = malloc(sizeof(*census));
        if (!census)
                return -ENOMEM;
        *census = (Census) { .source_fd = -EBADF };

        for (size_t method = CENSUS_METHOD_NONE + 1; method < ELEMENTSOF(sources); method++) {
                _cleanup_free_ char *reason = NULL;

                int r = sources[method]->open(&census->source_fd, &reason);
                if (r > 0) {
                        census->method = method;
                        break;
                }
                if (r == 0)
                        r = add_reason(census, reason);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(census);
        return 0;
}

/* The child's function. */
static int take_in_child(int result_fd, void *userdata) {
        const Census *census = userdata;
        CensusBuilder builder = {};

        int r = sources[census->method]->read(census->source_fd, &builder);
        if (r >= 0)
                census_builder_sort(&builder);

        return census_builder_write(&builder, r, result_fd);
}

int census_start(Census *census, Child **ret) {
        if (census->method == CENSUS_METHOD_NONE)
                return -EOPNOTSUPP;

        return child_start(
                        &(ChildParameters) {
                                .name = "census",
                                .run = take_in_child,
                                .userdata = census,
                                .keep_fds = &census->source_fd,
                                .n_keep_fds = 1,
                                .result_size_max = RESULT_SIZE_MAX,
                        },
                        ret);
}

int census_finish(Child *run, CensusResult **ret) {
        _cleanup_(census_builder_done) CensusBuilder builder = {};
        _cleanup_close_ int result_fd = -EBADF;

        int r = child_finish(run, &result_fd);
        if (r >= 0)
                r = census_builder_read(&builder, result_fd);

        return r < 0 ? r : census_builder_finish(&builder, ret);
}

int census_take(Census *census, CensusResult **ret) {
        Child *run;

        int r = census_start(census, &run);
        return r < 0 ? r : census_finish(run, ret);
}
