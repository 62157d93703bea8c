#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: long
# testbed: times=20 kernel=stock append="cma=64M" enable=dmaheapd.socket,boot-client.service,boot-client-early.service
# testbed+ add=boot-client.service:/etc/systemd/system/boot-client.service
# testbed+ add=boot-client-early.service:/etc/systemd/system/boot-client-early.service files=boot-client.py
"""The long form of boot-client: twenty boots."""

import vmtest
from test_boot_client import Client

if __name__ == "__main__":
    vmtest.main(Client)
