/* SPDX-License-Identifier: MIT */
/*
 * Imports a dma-buf of the daemon into a DRM device by PRIME: drm-import DEVICE [ROLE]
 *
 * A display driver would scan an imported buffer out, a GPU driver draw into it. This example exports it again, and
 * checks that both file descriptors are the same memory.
 */

#include <dmaheap.h>
#include <drm/drm.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (1 << 20)

static void fail(const char *what) {
        (void) fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(1);
}

static int buffer_allocate(const char *role) {
        DmaHeapConnection *c = NULL;
        DmaHeapError *error = NULL;
        int fd;

        if (dmaheap_connection_new(NULL, &c) < 0)
                exit(1);
        fd = dmaheap_allocate_fd(c, role, SIZE, &error);
        if (fd < 0) {
                (void) fprintf(stderr, "no buffer: %s\n", dmaheap_error_message(error));
                exit(1);
        }
        (void) dmaheap_connection_free(c);
        return fd;
}

static char *buffer_map(int fd) {
        void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (memory == MAP_FAILED)
                fail("mmap");
        return memory;
}

int main(int argc, char *argv[]) {
        struct drm_prime_handle import = {}, export = { .flags = DRM_CLOEXEC | DRM_RDWR };
        struct drm_gem_close gem_close = {};
        struct stat before, after;
        char *a, *b;
        int drm;

        if (argc < 2) {
                (void) fprintf(stderr, "drm-import DEVICE [ROLE]\n");
                return 2;
        }
        drm = open(argv[1], O_RDWR | O_CLOEXEC);
        if (drm < 0)
                fail(argv[1]);

        import.fd = buffer_allocate(argc > 2 ? argv[2] : "system");
        if (ioctl(drm, DRM_IOCTL_PRIME_FD_TO_HANDLE, &import) < 0)
                fail("import");
        (void) printf("imported as handle %u\n", import.handle);

        export.handle = import.handle;
        if (ioctl(drm, DRM_IOCTL_PRIME_HANDLE_TO_FD, &export) < 0)
                fail("export");
        if (fstat(import.fd, &before) < 0 || fstat(export.fd, &after) < 0)
                fail("stat");

        a = buffer_map(import.fd);
        b = buffer_map(export.fd);
        (void) strcpy(a, "hello");
        if (before.st_ino != after.st_ino || strcmp(b, "hello") != 0) {
                (void) fprintf(stderr, "not the same memory\n");
                return 1;
        }
        (void) printf("the same memory\n");

        gem_close.handle = import.handle;
        (void) ioctl(drm, DRM_IOCTL_GEM_CLOSE, &gem_close);
        (void) munmap(a, SIZE);
        (void) munmap(b, SIZE);
        (void) close(export.fd);
        (void) close(import.fd);
        (void) close(drm);
        return 0;
}
