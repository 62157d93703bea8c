/* SPDX-License-Identifier: MIT */
/* Allocates one buffer, maps it, writes and reads it: simple [ROLE]. It is valid C and C++.
 *
 *     cc simple.c $(pkg-config --cflags --libs dmaheap) -o simple
 */
#include <dmaheap.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE (1 << 20)

int main(int argc, char *argv[]) {
        const char *role = argc > 1 ? argv[1] : "system";
        DmaHeapConnection *connection = NULL;
        DmaHeapError *error = NULL;
        int status = 1, fd;
        char *memory;

        if (dmaheap_connection_new(NULL, &connection) < 0)
                return 1;

        fd = dmaheap_allocate_fd(connection, role, SIZE, &error);
        if (fd < 0) {
                fprintf(stderr, "no buffer: %s\n", dmaheap_error_message(error));
        } else {
                memory = (char *) mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
                if (memory != (char *) MAP_FAILED && dmaheap_begin_cpu_access(fd, PROT_READ | PROT_WRITE) == 0) {
                        strcpy(memory, "hello");
                        dmaheap_end_cpu_access(fd, PROT_READ | PROT_WRITE);
                        printf("%s\n", memory);
                        status = 0;
                } else
                        perror("no access");
                if (memory != (char *) MAP_FAILED)
                        munmap(memory, SIZE);
                close(fd);
        }

        dmaheap_error_free(error);
        dmaheap_connection_free(connection);
        return status;
}
