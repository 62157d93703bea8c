/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* What the BPF program of the census writes for each dma-buf; shared by dmabuf-iter.bpf.c and census-bpf.c. */

/* Room for a heap's name with its NUL, in whole words. */
#define DMABUF_ITER_EXPORTER_SIZE 72

struct dmabuf_iter_record {
        unsigned long long inode; /* 0: something of this dma-buf could not be read */
        unsigned long long size;
        char exporter[DMABUF_ITER_EXPORTER_SIZE];
};
