#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=stock append="cma=64M" timeout=7200
"""The long form of accounting-crash: 300 daemons after each of which is counted, and 100 more; 50 of everything else;
and as many buffers as a ledger holds."""

import resource

import vmtest
from test_accounting_crash import Crash
from test_accounting_ledger import Room


class Soak(Crash):
    N_DAEMONS = 400
    AGAIN = 4
    N_OTHERS = N_RESTARTS = N_IDLE = 50


class Capacity(Room):
    test_of_the_file_system = test_of_an_answer = None  # are in accounting-ledger

    def test_of_the_ledger(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (70000, 70000))
        self.assert_full(*self.fill(65536, 253))


if __name__ == "__main__":
    vmtest.main()
