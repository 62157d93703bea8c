#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=debug append="cma=64M swiotlb=force" memory=3072 timeout=1200 files=heaps.py,test-module-coherency.py
"""The suite 'module-coherency' where the DMA API is checked for every call of the heaps, and so is memory."""

import runpy

runpy.run_path("test-module-coherency.py", run_name="__main__")
