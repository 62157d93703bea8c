/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _DMABUF_PROBE_H
#define _DMABUF_PROBE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/**
 * struct dmabuf_probe - the argument of all requests
 * @fd:		the dma-buf
 * @expect:	VMAP, SHARE: the byte that all of the buffer should be filled with
 * @fill:	VMAP, SHARE: the byte to fill it with
 * @found:	VMAP: whether it was as expected; MAP: the number of segments; SHARE:
 *		what was as it should be, of DMABUF_PROBE_SHARE_*
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
#define DMABUF_PROBE_SHARE	_IOWR('D', 4, struct dmabuf_probe)

/*
 * Of a device that works on a copy of the memory, which the DMA API keeps up to
 * date when told to:
 * MAP:   mapped, it sees @expect
 * APART: what it writes, the CPU does not see yet
 * BEGIN: when the CPU's access has begun, it does
 * KEEP:  what the CPU writes, the device does not see yet
 * END:   when the access has ended, it does
 * UNMAP: unmapped, the CPU sees what the device wrote last, @fill
 */
#define DMABUF_PROBE_SHARE_MAP		0x1
#define DMABUF_PROBE_SHARE_APART	0x2
#define DMABUF_PROBE_SHARE_BEGIN	0x4
#define DMABUF_PROBE_SHARE_KEEP		0x8
#define DMABUF_PROBE_SHARE_END		0x10
#define DMABUF_PROBE_SHARE_UNMAP	0x20

#endif /* _DMABUF_PROBE_H */
