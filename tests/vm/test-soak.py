#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=stock append="cma=64M" timeout=7200 files=daemontest.py,accountingtest.py,accountingload.py,test-accounting-crash.py
"""The long form of accounting-crash: 300 daemons, 50 of everything else."""

import importlib

import vmtest

crash = importlib.import_module("test-accounting-crash")


class Soak(crash.Crash):
    N_DAEMONS = 300
    N_OTHERS = 50
    N_RESTARTS = 100


vmtest.main()
