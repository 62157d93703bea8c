/* SPDX-License-Identifier: GPL-2.0-only */

/* A buffer lives as long as anybody has it: a descriptor in some process or in a socket nobody reads, a mapping, a device
 * that has imported it. Only the kernel knows, so the kernel is asked: for a list of all dma-bufs, by inode number, which is
 * never used twice. What the ledger has and the list has not is gone.
 *
 * The better way is a BPF program on the kernel's dma-buf iterator. It is loaded once, in a child process, since libbpf
 * leaves a large heap behind when it has read the kernel's type information; the link's fd is all that comes back. The
 * other way is a file in debugfs, for which the kernel takes the lock of each buffer in turn. Whoever holds one of these can
 * make us wait, so both are read in a child too, which writes what it found into a memfd and exits; the event loop watches
 * its pidfd. The child has no other descriptor: a client's connection must not stay open through it. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "build-config.h"
#include "census-result.h"
#include "census.h"
#include "fd-util.h"

#if HAVE_BPF
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "dmabuf-iter.h"
#include "dmabuf-iter.skel.h"
#endif

#if HAVE_BPF
_Static_assert(DMABUF_ITER_EXPORTER_SIZE == CENSUS_EXPORTER_SIZE, "the BPF program cuts a name where the census does");
#endif

#define BUFINFO_PATH "/sys/kernel/debug/dma_buf/bufinfo"

/* 20,000 buffers, each with some attached devices, are a few MiB. */
#define BUFINFO_SIZE_MAX (256U * 1024U * 1024U)

struct Census {
        CensusMethod method;
        int link_fd; /* of the BPF iterator */
        char *reason;
};

struct CensusRun {
        pid_t pid;
        int pid_fd;
        int result_fd;
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

/* ---- child processes ---- */

/* What every child here does first: it ends with its parent, and keeps of its descriptors only 0 to 2 and `keep`, which
 * are -EBADF or above 2. */
static void child_begin(pid_t parent, int keep_a, int keep_b) {
        (void) prctl(PR_SET_NAME, "census");
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
                _exit(EXIT_FAILURE);

        int low = MIN(keep_a, keep_b), high = MAX(keep_a, keep_b), from = 3;
        if (low >= from) {
                if (low > from)
                        (void) close_range(from, low - 1, 0);
                from = low + 1;
        }
        if (high >= from) {
                if (high > from)
                        (void) close_range(from, high - 1, 0);
                from = high + 1;
        }
        (void) close_range(from, ~0U, 0);
}

/* Reaps a child; 0 when it went of its own accord. */
static int wait_for_child(pid_t pid) {
        int status;

        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;

        return WIFEXITED(status) ? 0 : -ECANCELED;
}

/* ---- BPF ---- */

/* What the loading child has to say; with the link's fd if error is 0. */
typedef struct LoadReport {
        int error;
        char what[64];
} LoadReport;

#if HAVE_BPF
/* From 6.16 to 6.18 the iterator went no further than what one read() could take. Since "bpf: Fix truncated dmabuf iterator reads" it keeps
 * its place in a struct of its own, which shows in the kernel's type information. */
static bool iterator_is_whole(void) {
        struct btf *btf = btf__load_vmlinux_btf();
        bool whole = btf && btf__find_by_name_kind(btf, "dmabuf_iter_priv", BTF_KIND_STRUCT) >= 0;

        btf__free(btf);
        return whole;
}

static void load_in_child(LoadReport *report, int *ret_link_fd) {
        libbpf_set_print(NULL);

        if (!iterator_is_whole()) {
                *report = (LoadReport) { .error = -EOPNOTSUPP, .what = "this kernel's dma-buf iterator ends before the list does" };
                return;
        }

        (void) snprintf(report->what, sizeof(report->what), "the kernel has no dma-buf iterator, or does not let us load it");
        struct dmabuf_iter *skeleton = dmabuf_iter__open_and_load();
        if (!skeleton) {
                report->error = -errno;
                return;
        }

        (void) snprintf(report->what, sizeof(report->what), "the kernel does not let us attach to its dma-buf iterator");
        struct bpf_link *link = bpf_program__attach_iter(skeleton->progs.dmabuf_iter, NULL);
        if (!link) {
                report->error = -errno;
                return;
        }

        report->error = 0;
        *ret_link_fd = bpf_link__fd(link);
}

static int read_iterator(int link_fd, CensusBuilder *builder) {
        static struct dmabuf_iter_record records[512];
        size_t filled = 0;

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
                for (size_t i = 0; i < n_records; i++) {
                        const struct dmabuf_iter_record *record = &records[i];

                        if (record->inode == 0)
                                return -EBADMSG;

                        int r = census_builder_add(
                                        builder,
                                        record->inode,
                                        record->size,
                                        record->exporter,
                                        strnlen(record->exporter, sizeof(record->exporter)));
                        if (r < 0)
                                return r;
                }

                filled -= n_records * sizeof(*records);
                memmove(records, &records[n_records], filled);
        }
}
#else
static void load_in_child(LoadReport *report, int *ret_link_fd _unused_) {
        *report = (LoadReport) { .error = -EOPNOTSUPP, .what = "not built in" };
}

static int read_iterator(int link_fd _unused_, CensusBuilder *builder _unused_) {
        return -EOPNOTSUPP;
}
#endif

/* Loads and attaches the BPF program in a child, and gets the link's fd from it. */
static int load_program(int *ret_link_fd, LoadReport *ret_report) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;

        _cleanup_close_ int ours = pair[0], theirs = pair[1];
        pid_t parent = getpid(), pid = fork();
        if (pid < 0)
                return -errno;

        if (pid == 0) {
                LoadReport report = {};
                int link_fd = -EBADF;

                child_begin(parent, theirs, -EBADF);
                load_in_child(&report, &link_fd);
                _exit(send_message(theirs, &report, sizeof(report), &link_fd, report.error == 0, 0) < 0);
        }

        theirs = safe_close(theirs);

        LoadReport report;
        int link_fd = -EBADF;
        size_t n_fds = 0;
        int r = receive_message(ours, &report, sizeof(report), &link_fd, 1, &n_fds, 0);
        (void) wait_for_child(pid);

        if (r < 0)
                return r;
        if (r == 0) /* it has died */
                report = (LoadReport) { .error = -EIO, .what = "loading it ended early" };
        else if (report.error == 0 && n_fds != 1)
                return -EBADMSG;

        if (report.error != 0)
                safe_close(link_fd);
        else
                *ret_link_fd = link_fd;
        *ret_report = report;
        return 0;
}

/* Returns 1 if there is a BPF census, else 0 and why not. */
static int try_bpf(Census *census, char **ret_reason) {
#if ENABLE_TEST_HOOKS
        if (getenv("DMAHEAPD_TEST_NO_BPF"))
                return (*ret_reason = strdup("BPF: switched off for a test")) ? 0 : -ENOMEM;
#endif

        LoadReport report = { .what = "cannot be tried" };
        int r = HAVE_BPF ? load_program(&census->link_fd, &report) : 0;
        if (!HAVE_BPF)
                return (*ret_reason = strdup("BPF: not built in")) ? 0 : -ENOMEM;
        if (r >= 0 && report.error == 0)
                return 1;

        return asprintf(ret_reason, "BPF: %s (%s)", report.what, strerror(-(r < 0 ? r : report.error))) < 0 ? -ENOMEM : 0;
}

/* ---- debugfs ---- */

static int read_bufinfo(CensusBuilder *builder) {
        _cleanup_free_ char *text = NULL;

        ssize_t n = read_file_at(AT_FDCWD, BUFINFO_PATH, BUFINFO_SIZE_MAX, &text);
        if (n < 0)
                return n;

        return census_builder_add_bufinfo(builder, text, n);
}

/* Only opens it: the text is made at the first read. */
static int try_debugfs(void) {
        _cleanup_close_ int fd = open(BUFINFO_PATH, O_RDONLY | O_CLOEXEC | O_NOCTTY);

        return fd < 0 ? -errno : 0;
}

/* ---- the object ---- */

Census *census_free(Census *census) {
        if (!census)
                return NULL;

        safe_close(census->link_fd);
        free(census->reason);
        free(census);
        return NULL;
}

int census_new(Census **ret) {
        _cleanup_(census_freep) Census *census = malloc(sizeof(*census));
        if (!census)
                return -ENOMEM;
        *census = (Census) { .link_fd = -EBADF };

        int r = try_bpf(census, &census->reason);
        if (r < 0)
                return r;

        if (r > 0)
                census->method = CENSUS_METHOD_BPF;
        else {
                r = try_debugfs();
                if (r >= 0)
                        census->method = CENSUS_METHOD_DEBUGFS;
                else {
                        char *both;
                        if (asprintf(&both, "%s; " BUFINFO_PATH ": %s", census->reason, strerror(-r)) < 0)
                                return -ENOMEM;
                        free(census->reason);
                        census->reason = both;
                }
        }

        *ret = TAKE_PTR(census);
        return 0;
}

static _Noreturn void take_in_child(const Census *census, int result_fd) {
        CensusBuilder builder = {};

        int r = census->method == CENSUS_METHOD_BPF ? read_iterator(census->link_fd, &builder) : read_bufinfo(&builder);
        if (r >= 0)
                census_builder_sort(&builder);

        _exit(census_builder_write(&builder, r, result_fd) < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

int census_start(Census *census, CensusRun **ret) {
        if (census->method == CENSUS_METHOD_NONE)
                return -EOPNOTSUPP;

        _cleanup_free_ CensusRun *run = malloc(sizeof(*run));
        if (!run)
                return -ENOMEM;

        _cleanup_close_ int result_fd = memfd_create("dmaheapd-census", MFD_CLOEXEC);
        if (result_fd < 0)
                return -errno;

        pid_t parent = getpid(), pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                child_begin(parent, result_fd, census->link_fd);
                take_in_child(census, result_fd);
        }

        int pid_fd = pidfd_open(pid, 0);
        if (pid_fd < 0) {
                int r = -errno;

                (void) kill(pid, SIGKILL);
                (void) wait_for_child(pid);
                return r;
        }

        *run = (CensusRun) { pid, pid_fd, TAKE_FD(result_fd) };
        *ret = TAKE_PTR(run);
        return 0;
}

int census_run_fd(const CensusRun *run) {
        return run->pid_fd;
}

void census_run_kill(CensusRun *run) {
        (void) pidfd_send_signal(run->pid_fd, SIGKILL, NULL, 0);
}

int census_finish(CensusRun *run, CensusResult **ret) {
        _cleanup_(census_builder_done) CensusBuilder builder = {};

        int r = wait_for_child(run->pid);
        if (r >= 0)
                r = census_builder_read(&builder, run->result_fd);

        safe_close(run->pid_fd);
        safe_close(run->result_fd);
        free(run);

        return r < 0 ? r : census_builder_finish(&builder, ret);
}

int census_take(Census *census, CensusResult **ret) {
        CensusRun *run;

        int r = census_start(census, &run);
        return r < 0 ? r : census_finish(run, ret);
}
