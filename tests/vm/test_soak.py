#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=stock append="cma=64M" timeout=7200
"""The long form of accounting-crash, and a ledger that is filled to the end.

400 daemons are killed, and the buffers counted after 300 of them; everything else happens 50 times."""

import resource

import vmtest
from test_accounting_crash import Crash
from test_accounting_ledger import Room


class Soak(Crash):
    N_DAEMONS = 400
    AGAIN = 4
    N_OTHERS = N_RESTARTS = N_IDLE = 50


class Capacity(Room):
    # These run in accounting-ledger.
    test_a_full_file_system_refuses_buffers_until_some_are_freed = None
    test_a_list_longer_than_a_message_is_an_error_and_the_connection_stays = None

    def test_a_ledger_holds_65536_buffers_and_refuses_more(self):
        resource.setrlimit(resource.RLIMIT_NOFILE, (70000, 70000))
        self.assert_full(*self.fill(65536, 253))


if __name__ == "__main__":
    vmtest.main()
