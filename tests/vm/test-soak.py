#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=stock append="cma=64M" timeout=7200 files=daemontest.py,accountingtest.py,accountingload.py,test-accounting-crash.py
"""The long form of accounting-crash: 300 daemons after each of which is counted, and 100 more; 50 of everything else."""

import importlib

import vmtest

crash = importlib.import_module("test-accounting-crash")


class Soak(crash.Crash):
    N_DAEMONS = 400
    AGAIN = 4
    N_OTHERS = N_RESTARTS = N_IDLE = 50


vmtest.main()
