#!/bin/sh
# SPDX-License-Identifier: MIT
# test-pkg-config.sh BUILD-DIRECTORY README: a program outside the tree, in C and in C++, by outside.sh; and that it says
# so when there is no daemon. What it says when there is one is tested in the machine (tests/vm/test_client_readme.py).
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
