#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=debug append="cma=64M modprobe.blacklist=cma_region" memory=3072 timeout=1200
"""The suite 'heap-fallback' on a kernel that has neither heaps nor their core."""

import test_heap_fallback
import vmtest

if __name__ == "__main__":
    vmtest.main(test_heap_fallback)
