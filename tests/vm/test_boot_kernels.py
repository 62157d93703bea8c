#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: kernel=tristate append="cma=64M" enable=dmaheapd.socket
# testbed: kernel=upstream append="cma=64M" enable=dmaheapd.socket
# testbed: kernel=upstream append="cma=64M modprobe.blacklist=cma_region" enable=dmaheapd.socket
# testbed: kernel=debug append="cma=64M" enable=dmaheapd.socket memory=3072 timeout=1200
"""The suite 'boot' on the other kernels: with our modules, with the kernel's own, and with our core."""

import test_boot
import vmtest

if __name__ == "__main__":
    vmtest.main(test_boot)
