/* SPDX-License-Identifier: GPL-2.0-only */

/* A worker is a process in a client's control group, so that the kernel charges the client for the pages and the time
 * of an allocation. The invariant: a worker that somebody has taken over can do no more than allocate. It holds its
 * socket and the device that a request brings, and it can make the few system calls below; the daemon checks what it
 * sends. */

#include <fcntl.h>
#include <grp.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <pwd.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "util/fd-util.h"
#include "worker/worker-protocol.h"
#include "worker/worker.h"

_Static_assert(BUFFER_LABEL_MAX + 1 == DMA_BUF_NAME_LEN, "a label is as long as the kernel lets a dma-buf's name be");

#define WORKER_USER "dmaheapd-worker"

/* The comm (at most 15 characters), which some programs show instead of the command line. */
#define WORKER_NAME "dmaheapd-worker"

static void seccomp_releasep(scmp_filter_ctx *filter) {
        if (*filter)
                seccomp_release(*filter);
}

static int build_filter(struct sock_fprog *ret) {
        static const int allowed[] = {
                SCMP_SYS(recvmsg),
                SCMP_SYS(sendmsg),
                SCMP_SYS(close),
                SCMP_SYS(exit_group),
                SCMP_SYS(exit),
                SCMP_SYS(memfd_create),
                SCMP_SYS(ftruncate),
                SCMP_SYS(rt_sigreturn),
                SCMP_SYS(restart_syscall),
                SCMP_SYS(brk),
                SCMP_SYS(munmap),
#ifdef __SANITIZE_ADDRESS__
                SCMP_SYS(mmap),
                SCMP_SYS(mprotect),
                SCMP_SYS(madvise),
                SCMP_SYS(getpid),
                SCMP_SYS(gettid),
                SCMP_SYS(sigaltstack),
                SCMP_SYS(write),
                SCMP_SYS(futex),
                SCMP_SYS(rt_sigprocmask),
                SCMP_SYS(clock_gettime),
#endif
        };
        static const unsigned long ioctls[] = { DMA_HEAP_IOCTL_ALLOC, DMA_BUF_SET_NAME_B, UDMABUF_CREATE };
        int r;

        _cleanup_(seccomp_releasep) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
        if (!filter)
                return -ENOMEM;

        for (size_t i = 0; i < ELEMENTSOF(allowed); i++) {
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed[i], 0);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < ELEMENTSOF(ioctls); i++) {
                r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, SCMP_A1_32(SCMP_CMP_EQ, ioctls[i]));
                if (r < 0)
                        return r;
        }
        r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1_32(SCMP_CMP_EQ, F_ADD_SEALS));
        if (r < 0)
                return r;

        size_t size = 0;
        r = seccomp_export_bpf_mem(filter, NULL, &size);
        if (r < 0)
                return r;

        _cleanup_free_ struct sock_filter *program = malloc(size);
        if (!program)
                return -ENOMEM;

        r = seccomp_export_bpf_mem(filter, program, &size);
        if (r < 0)
                return r;

        ret->len = size / sizeof(struct sock_filter);
        ret->filter = TAKE_PTR(program);
        return 0;
}

int worker_context_init(WorkerContext *context, char *title) {
        errno = 0;
        const struct passwd *user = getpwnam(WORKER_USER);
        if (!user)
                return errno > 0 ? -errno : -ENOENT;

        *context = (WorkerContext) { .uid = user->pw_uid, .gid = user->pw_gid, .parent = getpid(), .title = title };
        return build_filter(&context->filter);
}

/* An administrator who finds the process in a client's control group can see from this what it is. */
static void set_title(char *title) {
        size_t room = strlen(title);

        memset(title, 0, room);
        memcpy(title, WORKER_TITLE, MIN(room, strlen(WORKER_TITLE)));
        (void) prctl(PR_SET_NAME, WORKER_NAME);
}

/* The order matters: each step needs a privilege that a later one takes away. oom_score_adj is the spawner's, since it
 * cannot be written once the credentials have changed. */
static int give_up_privileges(const WorkerContext *context) {
        if (setgroups(0, NULL) < 0 || setresgid(context->gid, context->gid, context->gid) < 0 ||
                        setresuid(context->uid, context->uid, context->uid) < 0) /* which drops all capabilities */
                return -errno;

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
                        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0) /* after the credentials, which reset it */
                return -errno;

        /* The parent may have died before PR_SET_PDEATHSIG. */
        if (getppid() != context->parent)
                return -ESRCH;

        if (prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, &context->filter, 0, 0) < 0)
                return -errno;

        return 0;
}

static int allocate_from_heap(int heap_fd, const WorkerRequest *request) {
        struct dma_heap_allocation_data data = {
                .len = request->size,
                .fd_flags = O_CLOEXEC | (request->flags & WORKER_READ_ONLY ? O_RDONLY : O_RDWR),
        };

        return ioctl(heap_fd, DMA_HEAP_IOCTL_ALLOC, &data) < 0 ? -errno : (int) data.fd;
}

/* The pages of a memfd are zeroed. udmabuf demands F_SEAL_SHRINK; with the other two neither its size nor its seals
 * can change. */
static int allocate_from_udmabuf(int device_fd, const WorkerRequest *request) {
        _cleanup_close_ int memory_fd = memfd_create("dmaheapd", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        if (memory_fd < 0 || ftruncate(memory_fd, request->size) < 0 ||
                        fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;

        struct udmabuf_create create = {
                .memfd = memory_fd,
                .flags = UDMABUF_FLAGS_CLOEXEC,
                .size = request->size,
        };
        int fd = ioctl(device_fd, UDMABUF_CREATE, &create);
        return fd < 0 ? -errno : fd;
}

static int allocate_one(int device_fd, const WorkerRequest *request) {
        _cleanup_close_ int fd = request->flags & WORKER_UDMABUF ? allocate_from_udmabuf(device_fd, request) :
                                                                   allocate_from_heap(device_fd, request);

        if (fd >= 0 && request->label[0] && ioctl(fd, DMA_BUF_SET_NAME_B, (uint64_t) (uintptr_t) request->label) < 0)
                return -errno;

        return TAKE_FD(fd);
}

static int handle_request(int socket_fd, const WorkerRequest *request, int device_fd) {
        int fds[BUFFERS_MAX];
        WorkerReply reply = { .id = request->id };
        uint32_t n = 0;
        int r;

        if (device_fd < 0 || request->n_buffers == 0 || request->n_buffers > BUFFERS_MAX)
                reply.error = -EINVAL;

        while (reply.error == 0 && n < request->n_buffers) {
                fds[n] = allocate_one(device_fd, request);
                if (fds[n] < 0)
                        reply.error = fds[n];
                else
                        n++;
        }

        if (reply.error == 0) {
                reply.n_buffers = n;
                r = send_message(socket_fd, &reply, sizeof(reply), fds, n, 0);
                /* -ETOOMANYREFS, for one: the user has too many descriptors in messages that were not received. */
                if (r < 0 && r != -EPIPE && r != -ECONNRESET)
                        reply = (WorkerReply) { .id = request->id, .error = r };
        }

        close_many(fds, n);
        return reply.error == 0 ? 0 : send_message(socket_fd, &reply, sizeof(reply), NULL, 0, 0);
}

/* Makes the kernel grow the table of descriptors now. Later the pages of a large request may have reached the control
 * group's limit; then a larger table would invoke the OOM killer. */
static void grow_descriptor_table(int socket_fd) {
        (void) dup3(socket_fd, BUFFERS_MAX + 8, O_CLOEXEC);
        (void) close(BUFFERS_MAX + 8);
}

int worker_run(const WorkerContext *context, int socket_fd) {
        set_title(context->title);
        grow_descriptor_table(socket_fd);

        int r = give_up_privileges(context);
        if (r < 0)
                return EXIT_FAILURE;

        for (;;) {
                WorkerRequest request;
                int device_fd = -EBADF;

                r = receive_message(socket_fd, &request, sizeof(request), &device_fd, 1, &(size_t) { 0 }, 0);
                if (r <= 0)
                        return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;

                request.label[BUFFER_LABEL_MAX] = 0;
                r = handle_request(socket_fd, &request, device_fd);
                safe_close(device_fd);
                if (r < 0)
                        return EXIT_FAILURE;
        }
}
