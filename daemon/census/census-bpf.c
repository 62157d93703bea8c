/* SPDX-License-Identifier: GPL-2.0-only */

/* Takes the census from the kernel's dma-buf iterator, by the program dmabuf-iter.bpf.c. The program is loaded once, in
 * a child process, since libbpf leaves a large heap behind when it has read the kernel's type information; only the fd
 * of the link comes back. The invariant: the iterator is used only where it is known to list every buffer. */

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <sys/socket.h>

#include "build-config.h"
#include "census/census-source.h"
#include "census/dmabuf-iter.h"
#include "dmabuf-iter.skel.h"
#include "util/child.h"
#include "util/fd-util.h"

_Static_assert(DMABUF_ITER_EXPORTER_SIZE == CENSUS_EXPORTER_SIZE, "the BPF program cuts a name where the census does");

/* What the child that loads the program says, with the fd of the link if error is 0. */
typedef struct LoadReport {
        int error; /* negative errno, or 0 */
        char what[64];
} LoadReport;

/* From 6.16 to 6.18 the iterator went no further than what one read() could take. Since "bpf: Fix truncated dmabuf
 * iterator reads" it keeps its place in a struct of its own, which shows in the kernel's type information. */
static bool iterator_is_whole(void) {
        struct btf *btf = btf__load_vmlinux_btf();
        bool whole = btf && btf__find_by_name_kind(btf, "dmabuf_iter_priv", BTF_KIND_STRUCT) >= 0;

        btf__free(btf);
        return whole;
}

static void load_program(LoadReport *report, int *ret_link_fd) {
        libbpf_set_print(NULL);

        if (!iterator_is_whole()) {
                *report = (LoadReport) { .error = -EOPNOTSUPP,
                        .what = "this kernel's dma-buf iterator ends before the list does" };
                return;
        }

        (void) snprintf(report->what,
                        sizeof(report->what),
                        "the kernel has no dma-buf iterator, or does not let us load it");
        struct dmabuf_iter *skeleton = dmabuf_iter__open_and_load();
        if (!skeleton) {
                report->error = -errno;
                return;
        }

        (void) snprintf(report->what,
                        sizeof(report->what),
                        "the kernel does not let us attach to its dma-buf iterator");
        struct bpf_link *link = bpf_program__attach_iter(skeleton->progs.dmabuf_iter, NULL);
        if (!link) {
                report->error = -errno;
                return;
        }

        report->error = 0;
        *ret_link_fd = bpf_link__fd(link);
}

/* The child's function. Everything it made is freed by its end. The result's memfd stays empty: only a socket carries
 * an fd. */
static int load_in_child(int result_fd _unused_, void *userdata) {
        const int *socket_fd = userdata;
        LoadReport report = {};
        int link_fd = -EBADF;

        load_program(&report, &link_fd);
        return send_message(*socket_fd, &report, sizeof(report), &link_fd, report.error == 0, 0);
}

/* Loads and attaches the program in a child. Returns 0 with the child's
 * report, and the link's fd if its error is 0; -errno. */
static int load(LoadReport *ret_report, int *ret_link_fd) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;

        _cleanup_close_ int ours = pair[0], theirs = pair[1];
        _cleanup_(child_freep) Child *child = NULL;
        int r = child_start(
                        &(ChildParameters) {
                                .name = "census-load",
                                .run = load_in_child,
                                .userdata = &theirs,
                                .keep_fds = &theirs,
                                .n_keep_fds = 1,
                        },
                        &child);
        if (r < 0)
                return r;
        theirs = safe_close(theirs);

        _cleanup_close_ int link_fd = -EBADF, result_fd = -EBADF;
        LoadReport report;
        size_t n_fds = 0;

        r = receive_message(ours, &report, sizeof(report), &link_fd, 1, &n_fds, 0);
        (void) child_finish(TAKE_PTR(child), &result_fd);
        if (r < 0)
                return r;
        if (r == 0) /* the child died */
                report = (LoadReport) { .error = -EIO, .what = "loading it ended early" };
        else if ((report.error == 0) != (n_fds == 1))
                return -EBADMSG;

        if (report.error == 0)
                *ret_link_fd = TAKE_FD(link_fd);
        *ret_report = report;
        return 0;
}

static int bpf_open(int *ret_fd, char **ret_reason) {
#if ENABLE_TEST_HOOKS
        if (getenv("DMAHEAPD_TEST_NO_BPF"))
                return (*ret_reason = strdup("BPF: switched off for a test")) ? 0 : -ENOMEM;
#endif

        LoadReport report = { .what = "cannot be tried" };
        int r = load(&report, ret_fd);
        if (r >= 0 && report.error == 0)
                return 1;

        int error = r < 0 ? r : report.error;
        return asprintf(ret_reason, "BPF: %s (%s)", report.what, strerror(-error)) < 0 ? -ENOMEM : 0;
}

static int add_records(CensusBuilder *builder, const struct dmabuf_iter_record *records, size_t n_records) {
        for (const struct dmabuf_iter_record *record = records; record < records + n_records; record++) {
                if (record->inode == 0) /* the program could not read all of it */
                        return -EBADMSG;

                size_t length = strnlen(record->exporter, sizeof(record->exporter));
                int r = census_builder_add(builder, record->inode, record->size, record->exporter, length);
                if (r < 0)
                        return r;
        }

        return 0;
}

static int bpf_read(int link_fd, CensusBuilder *builder) {
        static struct dmabuf_iter_record records[512];
        size_t filled = 0; /* bytes; a read() may end within a record */

        _cleanup_close_ int fd = bpf_iter_create(link_fd);
        if (fd < 0)
                return -errno;

        for (;;) {
                ssize_t n = read(fd, (char *) records + filled, sizeof(records) - filled);
                if (n < 0) {
                        /* EAGAIN: the kernel has done enough for one call. */
                        if (errno == EINTR || errno == EAGAIN)
                                continue;
                        return -errno;
                }
                if (n == 0)
                        return filled == 0 ? 0 : -EBADMSG;
                filled += n;

                size_t n_records = filled / sizeof(*records);
                int r = add_records(builder, records, n_records);
                if (r < 0)
                        return r;

                filled -= n_records * sizeof(*records);
                memmove(records, &records[n_records], filled);
        }
}

const CensusSource census_bpf = { .open = bpf_open, .read = bpf_read };
