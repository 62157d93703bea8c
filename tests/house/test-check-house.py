#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Breaks each rule of check-house.py once, in a small tree of its own, and looks for the fault it must name."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

CHECK = pathlib.Path(__file__).with_name('check-house.py')
LICENCE = '/* SPDX-License-Identifier: GPL-2.0-only */\n'
LICENCE_LINE = '# SPDX-License-Identifier: GPL-2.0-only\n'

# A tree without a fault: one file in a low room, one in a high others that include it.
GOOD = {
    'meson.build': LICENCE_LINE,
    'daemon/util/log.h': LICENCE + '#pragma once\n',
    'daemon/util/log.c': LICENCE + '#include "util/log.h"\n',
    'daemon/limits/quota.h': LICENCE + '#pragma once\n#include <stdint.h>\n',
    'daemon/ledger/ledger.c': LICENCE + '#include "limits/quota.h"\n#include "util/log.h"\n',
    'daemon/clients/client.h': LICENCE + '#pragma once\n#include "limits/quota.h"\n',
    'daemon/manager.h': LICENCE + '#pragma once\n#include "clients/client.h"\n',
}

# Each row breaks one rule: what it is called, the files that it changes, and what the fault must say.
FAULTS = [
    ('an include against the order', {'daemon/util/log.c': LICENCE + '#include "limits/quota.h"\n'},
     'daemon/util/log.c: includes limits/quota.h, but util may not know limits'),
    ('an include between rooms of one rank', {'daemon/ledger/ledger.c': LICENCE + '#include "clients/client.h"\n'},
     'daemon/ledger/ledger.c: includes clients/client.h, but ledger may not know clients'),
    ('a folder that knows the manager', {'daemon/worker/worker.c': LICENCE + '#include "manager.h"\n'},
     'daemon/worker/worker.c: includes manager.h, but worker may not know manager'),
    ('an include without its folder', {'daemon/ledger/ledger.c': LICENCE + '#include "log.h"\n'},
     'daemon/ledger/ledger.c: includes "log.h" without its folder'),
    ('a file in no room', {'daemon/other/thing.c': LICENCE},
     'daemon/other/thing.c: is in no room'),
    ('a library outside its place', {'daemon/ledger/ledger.c': LICENCE + '#include <libkmod.h>\n'},
     'daemon/ledger/ledger.c: includes <libkmod.h>, which is only for'),
    ('a call outside its place', {'daemon/ledger/ledger.c': LICENCE + 'int x = DMA_HEAP_IOCTL_ALLOC;\n'},
     'daemon/ledger/ledger.c: says'),
    ('a pure noun that does input', {'daemon/limits/quota.h': LICENCE + '#include <stdio.h>\n'},
     'daemon/limits/quota.h: includes <stdio.h>, but is pure'),
    ('a circle of two nouns in one room',
     {'daemon/util/a.h': LICENCE + '#include "util/b.h"\n', 'daemon/util/b.c': LICENCE + '#include "util/a.h"\n',
      'daemon/util/b.h': LICENCE},
     'daemon/: includes go in a circle: util/a -> util/b -> util/a'),
    ('a circle in client/',
     {'client/lib/call.c': LICENCE + '#include "connection.h"\n',
      'client/lib/connection.h': LICENCE + '#include "call.h"\n', 'client/lib/call.h': LICENCE},
     'client/: includes go in a circle: lib/call -> lib/connection -> lib/call'),
    ('a file of 501 lines', {'daemon/util/log.h': LICENCE + '\n' * 500},
     'daemon/util/log.h: has 501 lines, more than 500'),
    ('a line of 121 columns', {'daemon/util/log.h': LICENCE + '/*' + 'x' * 119 + '\n'},
     'daemon/util/log.h:2: has 121 columns, more than 120'),
    ('tabs count to the next eighth column', {'daemon/util/log.h': LICENCE + '\t' * 15 + 'x\n'},
     'daemon/util/log.h:2: has 121 columns, more than 120'),
    ('a line of 121 columns in Python', {'tests/vm/test_some.py': LICENCE_LINE + '#' * 121 + '\n'},
     'tests/vm/test_some.py:2: has 121 columns, more than 120'),
    ('no licence', {'daemon/util/log.h': '#pragma once\n'},
     'daemon/util/log.h: does not name its licence'),
]

# What is allowed to the last line and column.
ALLOWED = [
    ('a file of 500 lines', {'daemon/util/log.h': LICENCE + '\n' * 499}),
    ('a line of 120 columns', {'daemon/util/log.h': LICENCE + '/*' + 'x' * 118 + '\n'}),
    ('a line of 120 columns in Python', {'tests/vm/test_some.py': LICENCE_LINE + '#' * 120 + '\n'}),
]


def run_check(changes: dict[str, str]) -> tuple[int, str]:
    """The exit status of check-house.py and what it prints, for the good tree with the changes made."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in {**GOOD, **changes}.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding='utf-8')
        result = subprocess.run([sys.executable, CHECK, folder], capture_output=True, text=True, check=False)
        return result.returncode, result.stdout + result.stderr


class CheckHouse(unittest.TestCase):
    def test_each_broken_rule_is_named_and_nothing_else(self):
        for name, changes, fault in FAULTS:
            with self.subTest(name):
                status, output = run_check(changes)
                self.assertEqual(status, 1, output)
                self.assertEqual(len(output.splitlines()), 1, output)
                self.assertTrue(output.startswith(fault), output)

    def test_a_tree_that_keeps_the_rules_has_no_fault(self):
        for name, changes in [('the good tree', {}), *ALLOWED]:
            with self.subTest(name):
                self.assertEqual(run_check(changes), (0, ''))


if __name__ == '__main__':
    unittest.main()
