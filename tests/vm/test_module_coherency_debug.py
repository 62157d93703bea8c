#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=debug append="cma=64M swiotlb=force" memory=3072 timeout=1200
"""The suite 'module-coherency' on a kernel that checks memory and each of the heaps' calls of the DMA API."""

import test_module_coherency
import vmtest

if __name__ == "__main__":
    vmtest.main(test_module_coherency)
