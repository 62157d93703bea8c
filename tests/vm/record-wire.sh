#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Prints a new tests/vm/wire-session.txt. test_wire.py has the command line of 'tests/testbed exec' for it.
exec python3 -m test_wire --record
