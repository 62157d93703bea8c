/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

/* The messages between daemon, spawner and workers. Each has a fixed size and is one message of an AF_UNIX
 * SOCK_SEQPACKET socket, with descriptors by SCM_RIGHTS. Errors are negative, as functions return them. All ends are of
 * one build, so there is no version. */

#include <stdint.h>

#include "util/buffer-limits.h"

/* The spawner is started with its socket as this descriptor, and with its title as argv[0] and only argument. A worker
 * overwrites it with its own, so that systemd-cgls and ps show what the process is. */
#define SPAWNER_SOCKET_FD 3
#define SPAWNER_TITLE "dmaheapd-spawner: starts dmaheapd's workers in the control groups of its clients"
#define WORKER_TITLE "dmaheapd-worker: allocates dma-bufs for a client in this control group"
_Static_assert(sizeof(WORKER_TITLE) <= sizeof(SPAWNER_TITLE), "the worker's title has room in the spawner's");

/* Daemon to spawner, with two descriptors: the control group's directory and the worker's socket. */
typedef struct SpawnRequest {
        uint64_t id;
} SpawnRequest;

/* Spawner to daemon: with the worker's pidfd if error is 0. */
typedef struct SpawnReply {
        uint64_t id;
        int32_t error; /* negative errno of clone3(2), or 0 */
        int32_t pid;
} SpawnReply;

enum {
        WORKER_READ_ONLY = 1 << 0, /* the dma-buf cannot be mapped for writing */
        WORKER_UDMABUF = 1 << 1,   /* the device is /dev/udmabuf */
};

/* Daemon to worker, with one descriptor: the heap's device. */
typedef struct WorkerRequest {
        uint64_t id;
        uint64_t size; /* of each buffer, in bytes, whole pages */
        uint32_t n_buffers;
        uint32_t flags;
        char label[BUFFER_LABEL_MAX + 1]; /* empty: none */
} WorkerRequest;

/* Worker to daemon: with the n_buffers dma-bufs if error is 0. */
typedef struct WorkerReply {
        uint64_t id;
        int32_t error; /* negative errno, or 0 */
        uint32_t n_buffers;
} WorkerReply;
