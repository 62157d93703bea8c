#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=debug append="cma=64M modprobe.blacklist=cma_region" memory=3072 timeout=1200 files=daemontest.py,heaps.py,test-heap-fallback.py
"""The suite 'heap-fallback' where the kernel has no heaps at all, nor their core."""

import runpy

runpy.run_path("test-heap-fallback.py", run_name="__main__")
