// SPDX-License-Identifier: GPL-2.0-only

/* The BPF program of the census. The kernel's dma-buf iterator (Linux 6.16) calls it once for each dma-buf, in the
 * context of the process that reads the iterator's fd. That process reads what the program writes with bpf_seq_write().
 *
 * The kernel adds new dma-bufs at the head of its list, so the walk does not meet those made after it began. It takes
 * no buffer's lock, and does not look at the name that a buffer was given. The invariant: each dma-buf that was there
 * at the beginning and still lives makes one record, whose inode is 0 if something could not be read.
 *
 * Only the members that are needed are declared here. libbpf fills in their places in the running kernel's structures
 * from the kernel's BTF (CO-RE). */

/* All that bpf_helpers.h needs of the kernel's headers, whose place on disk differs from system to system. */
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

#include <bpf/bpf_helpers.h>

#include "census/dmabuf-iter.h"

#define _core_ __attribute__((preserve_access_index))

struct seq_file;

struct bpf_iter_meta {
        struct seq_file *seq;
} _core_;

struct inode {
        unsigned long i_ino;
} _core_;

struct file {
        struct inode *f_inode;
} _core_;

struct dma_buf {
        __SIZE_TYPE__ size;
        struct file *file;
        const char *exp_name;
} _core_;

struct bpf_iter__dmabuf {
        struct bpf_iter_meta *meta;
        struct dma_buf *dmabuf;
} _core_;

char LICENSE[] SEC("license") = "GPL";

SEC("iter/dmabuf")
int dmabuf_iter(struct bpf_iter__dmabuf *ctx) {
        struct dma_buf *dmabuf = ctx->dmabuf;
        struct dmabuf_iter_record record = {};

        if (!dmabuf)
                return 0;

        record.inode = dmabuf->file->f_inode->i_ino;
        record.size = dmabuf->size;
        if (bpf_probe_read_kernel_str(record.exporter, sizeof(record.exporter), dmabuf->exp_name) < 0)
                record.inode = 0;

        /* If the buffer is full, the iterator notices, and calls again for the same dma-buf with an empty one. */
        bpf_seq_write(ctx->meta->seq, &record, sizeof(record));
        return 0;
}
