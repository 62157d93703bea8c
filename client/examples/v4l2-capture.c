/* SPDX-License-Identifier: MIT */
/*
 * Captures frames of a V4L2 camera into dma-bufs of the daemon: v4l2-capture DEVICE [ROLE [FRAMES]]
 *
 * The camera's driver tells the size of a frame. The daemon allocates a buffer of that size for each slot of the queue,
 * and the driver fills the buffers (V4L2_MEMORY_DMABUF). For each frame, the program prints its number and how many
 * colours its last line has.
 */

#include <dmaheap.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define N_BUFFERS 4

typedef struct Camera {
        int fd;
        uint32_t width, height, stride, size;
        DmaHeapReply *buffers;
        const unsigned char *memory[N_BUFFERS];
} Camera;

static void fail(const char *what) {
        (void) fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(1);
}

static void camera_open(Camera *camera, const char *device) {
        struct v4l2_format format = { .type = V4L2_BUF_TYPE_VIDEO_CAPTURE };
        struct v4l2_requestbuffers request = {
                .type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
                .memory = V4L2_MEMORY_DMABUF,
                .count = N_BUFFERS,
        };

        camera->fd = open(device, O_RDWR | O_CLOEXEC);
        if (camera->fd < 0)
                fail(device);

        if (ioctl(camera->fd, VIDIOC_G_FMT, &format) < 0)
                fail("format");
        format.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
        if (ioctl(camera->fd, VIDIOC_S_FMT, &format) < 0)
                fail("format YUYV");
        camera->width = format.fmt.pix.width;
        camera->height = format.fmt.pix.height;
        camera->stride = format.fmt.pix.bytesperline;
        camera->size = format.fmt.pix.sizeimage;

        if (ioctl(camera->fd, VIDIOC_REQBUFS, &request) < 0)
                fail("DMABUF");
        if (request.count != N_BUFFERS) {
                (void) fprintf(stderr, "the camera wants %u buffers\n", request.count);
                exit(1);
        }
}

static void camera_queue(const Camera *camera, uint32_t i) {
        struct v4l2_buffer buffer = {
                .type = V4L2_BUF_TYPE_VIDEO_CAPTURE,
                .memory = V4L2_MEMORY_DMABUF,
                .index = i,
                .m.fd = dmaheap_reply_fd(camera->buffers, i),
        };

        if (ioctl(camera->fd, VIDIOC_QBUF, &buffer) < 0)
                fail("queue");
}

static void camera_give_buffers(Camera *camera, DmaHeapConnection *c, const char *role) {
        DmaHeapRequest request = { .role = role, .size = camera->size, .count = N_BUFFERS, .label = "v4l2-capture" };
        DmaHeapError *error = NULL;

        if (dmaheap_allocate(c, &request, &camera->buffers, &error) < 0) {
                (void) fprintf(stderr, "no buffers: %s\n", dmaheap_error_message(error));
                exit(1);
        }
        for (uint32_t i = 0; i < N_BUFFERS; i++) {
                void *memory = mmap(NULL, camera->size, PROT_READ, MAP_SHARED, dmaheap_reply_fd(camera->buffers, i), 0);

                if (memory == MAP_FAILED)
                        fail("mmap");
                camera->memory[i] = memory;
                camera_queue(camera, i);
        }
}

/* Returns how many colours the last line of a frame has, 16 at the most. */
static unsigned count_colours(const Camera *camera, const unsigned char *frame) {
        const unsigned char *line = frame + (size_t) (camera->height - 1) * camera->stride;
        uint32_t seen[16] = {};
        unsigned n = 0;

        /* Four bytes, Y U Y V, are two pixels. */
        for (uint32_t x = 0; x + 4 <= camera->width * 2; x += 4) {
                uint32_t colour;
                unsigned i = 0;

                memcpy(&colour, line + x, sizeof(colour));
                while (i < n && seen[i] != colour)
                        i++;
                if (i == n && n < sizeof(seen) / sizeof(seen[0]))
                        seen[n++] = colour;
        }
        return n;
}

static void camera_show_frame(const Camera *camera) {
        struct v4l2_buffer buffer = { .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_DMABUF };
        struct pollfd p = { .fd = camera->fd, .events = POLLIN };
        int fd;

        if (poll(&p, 1, 10000) != 1 || ioctl(camera->fd, VIDIOC_DQBUF, &buffer) < 0)
                fail("no frame");

        fd = dmaheap_reply_fd(camera->buffers, buffer.index);
        if (dmaheap_begin_cpu_access(fd, PROT_READ) < 0)
                fail("begin access");
        (void) printf("frame %u in buffer %u: %u bytes, %u colours\n",
                        buffer.sequence,
                        buffer.index,
                        buffer.bytesused,
                        count_colours(camera, camera->memory[buffer.index]));
        (void) dmaheap_end_cpu_access(fd, PROT_READ);

        camera_queue(camera, buffer.index);
}

int main(int argc, char *argv[]) {
        int type = V4L2_BUF_TYPE_VIDEO_CAPTURE, n_frames = argc > 3 ? atoi(argv[3]) : 8;
        DmaHeapConnection *c = NULL;
        Camera camera = {};

        if (argc < 2) {
                (void) fprintf(stderr, "v4l2-capture DEVICE [ROLE [FRAMES]]\n");
                return 2;
        }
        if (dmaheap_connection_new(NULL, &c) < 0)
                return 1;

        camera_open(&camera, argv[1]);
        camera_give_buffers(&camera, c, argc > 2 ? argv[2] : "system");
        if (ioctl(camera.fd, VIDIOC_STREAMON, &type) < 0)
                fail("stream on");
        for (int i = 0; i < n_frames; i++)
                camera_show_frame(&camera);
        (void) ioctl(camera.fd, VIDIOC_STREAMOFF, &type);

        (void) printf("%ux%u from heap %s\n", camera.width, camera.height, dmaheap_reply_heap(camera.buffers));
        (void) close(camera.fd);
        (void) dmaheap_reply_free(camera.buffers);
        (void) dmaheap_connection_free(c);
        return 0;
}
