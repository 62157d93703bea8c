#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""A service that allocates while the machine boots: boot-client.service and boot-client-early.service.

Leaves in /run/boot-client-NAME.json what it got for each role, and how far the boot was.
"""

import json
import sys

import vmtest


def target_is_active(target):
    return vmtest.unit_property(target, "ActiveState") == "active"


def allocate(role):
    reply = vmtest.allocate(role=role, size=vmtest.MIB)
    result = {"error": reply.error, "fds": len(reply.fds), **reply.parameters}
    for fd in reply.fds:
        with vmtest.map_buffer(fd, vmtest.MIB) as memory:
            result["zeroed"] = memory[:] == bytes(vmtest.MIB)
    vmtest.close_fds(reply.fds)
    return result


def main():
    name, roles = sys.argv[1], sys.argv[2:]
    result = {target: target_is_active(target) for target in ("sysinit.target", "multi-user.target")}
    result |= {role: allocate(role) for role in roles}
    with open(f"/run/boot-client-{name}.json", "w", encoding="ascii") as file:
        json.dump(result, file)


main()
