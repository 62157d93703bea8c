/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _DMABUF_PROBE_H
#define _DMABUF_PROBE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct dmabuf_probe - the argument of all requests
 * @fd:		the dma-buf
 * @expect:	VMAP: the byte that all of the buffer should be filled with
 * @fill:	VMAP: the byte to fill it with
 * @found:	VMAP: whether it was as expected; MAP: the number of segments
 * @n_runs:	MAP: the same, where neighbours count as one
 * @value:	VMAP_TIME: nanoseconds; MAP: the bytes of all segments
 */
struct dmabuf_probe {
	__s32 fd;
	__u8 expect;
	__u8 fill;
	__u16 reserved;
	__u64 found;
	__u64 n_runs;
	__u64 value;
};

#define DMABUF_PROBE_VMAP	_IOWR('D', 1, struct dmabuf_probe)
#define DMABUF_PROBE_VMAP_TIME	_IOWR('D', 2, struct dmabuf_probe)
#define DMABUF_PROBE_MAP	_IOWR('D', 3, struct dmabuf_probe)

#endif /* _DMABUF_PROBE_H */
