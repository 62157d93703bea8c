/* SPDX-License-Identifier: GPL-2.0-only */

/* Opens a ledger of any contents, adds to it, and opens it again.
 *
 * A fuzzer does not guess checksums. So the first byte of the input chooses: the rest is the file as it is, or slots
 * that get the right checksum and the header of a new ledger. Each 256 bytes of input are one slot, whose strings
 * are filled up with 'x': a small input can then be several records, and a length that is too large finds no NUL. */

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "ledger/ledger-file.h"
#include "ledger/ledger.h"
#include "util/fd-util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char directory[] = "/dev/shm/dmaheapd-fuzz-XXXXXX";
static const uint8_t boot[16] = "the fuzzer's";

static void check(bool condition) {
        if (!condition)
                abort();
}

static void remove_directory(void) {
        (void) rmdir(directory);
}

static void write_slots(int dir_fd, const uint8_t *data, size_t size) {
        uint32_t n_slots;
        int fd;

        check(ledger_file_create(dir_fd, boot, &n_slots, &fd) >= 0);
        for (uint32_t i = 0; i < n_slots && size > 0; i++) {
                size_t part = MIN(size, (size_t) 256);
                LedgerFileSlot slot = {};

                /* Everything but the checksum is from the input. */
                memset(slot.strings, 'x', sizeof(slot.strings));
                memcpy(&slot, data, part);
                ledger_file_seal(&slot);
                check(ledger_file_write_body(fd, i, &slot) >= 0);
                check(ledger_file_write_inode(fd, i, slot.inode) >= 0);
                data += part;
                size -= part;
        }
        safe_close(fd);
}

static void write_raw(int dir_fd, const uint8_t *data, size_t size) {
        _cleanup_close_ int fd = openat(dir_fd, LEDGER_FILE_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        check(fd >= 0 && write(fd, data, size) == (ssize_t) size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static int dir_fd = -1;

        if (dir_fd < 0) {
                /* In a tmpfs, as the real one. */
                if (!mkdtemp(directory))
                        check(mkdtemp(strcpy(directory, "/tmp/dmaheapd-fuzz-XXXXXX")));
                check(atexit(remove_directory) == 0);
                dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                check(dir_fd >= 0);
        }
        if (size == 0)
                return 0;

        if (data[0] & 1)
                write_slots(dir_fd, data + 1, size - 1);
        else
                write_raw(dir_fd, data + 1, size - 1);

        Ledger *ledger;
        _cleanup_free_ char *set_aside = NULL;
        check(ledger_open(dir_fd, boot, &ledger, &set_aside) >= 0);

        /* A ledger that was opened can be added to, is the same when it is opened again, and can be emptied. */
        Identity owner = { .cgroup = (char *) "/fuzz" };
        LedgerEntry entry = { .owner = &owner, .heap = "system" };
        size_t n = ledger_n_records(ledger);
        for (size_t i = 1; i < n; i++)
                check(ledger_at(ledger, i - 1)->inode < ledger_at(ledger, i)->inode);

        int r = ledger_add(ledger, &entry, &(LedgerBuffer) { 77, 1 }, 1, NULL);
        check(r == 0 || r == -EEXIST);
        n = ledger_n_records(ledger);
        ledger = ledger_free(ledger);

        char *again = NULL;
        check(ledger_open(dir_fd, boot, &ledger, &again) >= 0 && !again);
        check(ledger_n_records(ledger) == n);
        check(ledger_retire(ledger, NULL, 0, UINT64_MAX, NULL, NULL) == n);
        (void) ledger_free(ledger);

        (void) unlinkat(dir_fd, LEDGER_FILE_NAME, 0);
        (void) unlinkat(dir_fd, LEDGER_FILE_NAME ".bad", 0);
        return 0;
}
