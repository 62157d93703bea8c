#!/bin/sh
# SPDX-License-Identifier: MIT
# test-pkg-config.sh BUILD-DIRECTORY EXAMPLE: a program outside the tree, built with nothing but what pkg-config says of an
# installed library, in C and in C++; and that it says so when there is no daemon.
set -eu
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

meson install -C "$1" --destdir "$root" --no-rebuild --quiet --tags runtime,devel
PKG_CONFIG_LIBDIR=$(dirname "$(find "$root" -name dmaheap.pc)")
export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR="$root"
library=$(dirname "$(find "$root" -name libdmaheap.so.0)")

cp "$2" "$root/program.c"
cp "$2" "$root/program.cc"
flags=$(pkg-config --cflags --libs dmaheap)
# shellcheck disable=SC2086 # words
${CC:-cc} -std=c11 -D_DEFAULT_SOURCE -Wall -Wextra -Wpedantic -Werror "$root/program.c" $flags -o "$root/in-c"
# shellcheck disable=SC2086 # words
${CXX:-c++} -std=c++11 -Wall -Wextra -Wpedantic -Werror "$root/program.cc" $flags -o "$root/in-c++"

for program in in-c in-c++; do
        if DMAHEAP_ADDRESS=/nonexistent LD_LIBRARY_PATH=$library "$root/$program" 2>"$root/error"; then
                exit 1
        fi
        grep -q 'cannot connect to /nonexistent' "$root/error"
done
