#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# 'tests/testbed demo' runs this in the machine: an ordinary client without privileges gets buffers.
set -u
status=0

# show COMMAND…: prints the command, runs it, and prints what it says.
show() {
        printf '$ %s\n' "$*"
        "$@" 2>&1 | sed 's/^/    /'
        return "${PIPESTATUS[0]}"
}

# loaded: tells which modules of heaps the kernel has.
loaded() {
        awk '$1 ~ /heap/ {printf "%s%s", (n++ ? " " : ""), $1} END {print (n ? "" : "no module of a heap")}' \
                /proc/modules
}

# shellcheck disable=SC2317 # called by show
user1() {
        setpriv --reuid user1 --regid user1 --init-groups -- "$@"
}

systemctl start dmaheapd.socket || exit 1
echo "Linux $(uname -r). dmaheapd.socket is $(systemctl is-active dmaheapd.socket)," \
        "dmaheapd.service $(systemctl is-active dmaheapd.service), loaded: $(loaded)."
echo "An unprivileged user asks for 8 MiB of contiguous memory, and looks at file descriptor 3 of what he gets:"
show user1 dmaheapctl allocate --role=contiguous 8M -- sed -n '/^size/p; /^exp_name/p' /proc/self/fdinfo/3 || status=1
echo "dmaheapd.service is $(systemctl is-active dmaheapd.service) now, loaded: $(loaded)."
[[ $(systemctl is-active dmaheapd.service) == active ]] || status=1
show dmaheapctl list || status=1
exit $status
