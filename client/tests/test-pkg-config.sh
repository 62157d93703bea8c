#!/bin/sh
# SPDX-License-Identifier: MIT
# test-pkg-config.sh BUILD-DIRECTORY README: the README's program can be built outside the tree (outside.sh), and fails
# with a message if there is no daemon. tests/vm/test_client_readme.py tests it with one, in the machine.
set -eu
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

meson install -C "$1" --destdir "$root" --no-rebuild --quiet --tags runtime,devel
"$(dirname "$0")/outside.sh" "$root" "$2" "$root"
library=$(dirname "$(find "$root" -name libdmaheap.so.0)")

for program in in-c in-c++; do
        if DMAHEAP_ADDRESS=/nonexistent LD_LIBRARY_PATH=$library "$root/$program" 2>"$root/error"; then
                exit 1
        fi
        grep -q 'cannot connect to /nonexistent' "$root/error"
done
