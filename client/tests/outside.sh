#!/bin/sh
# SPDX-License-Identifier: MIT
# outside.sh ROOT README FOLDER: builds the C program in README as C and as C++, as FOLDER/in-c and FOLDER/in-c++, with
# the compiler flags that pkg-config gives for the library installed in ROOT and no others.
set -eu
root=$1 readme=$2 folder=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2016 # no expansion
sed -n '/^```c$/,/^```$/{//!p}' "$readme" >"$work/program.c"
grep -q '#include <dmaheap.h>' "$work/program.c"
cp "$work/program.c" "$work/program.cc"

PKG_CONFIG_LIBDIR=$(dirname "$(find "$root" -name dmaheap.pc)")
export PKG_CONFIG_LIBDIR PKG_CONFIG_SYSROOT_DIR="$root"
flags=$(pkg-config --cflags --libs dmaheap)
mkdir -p "$folder"
# shellcheck disable=SC2086 # words
${CC:-cc} -std=c11 -D_DEFAULT_SOURCE -Wall -Wextra -Wpedantic -Werror "$work/program.c" $flags -o "$folder/in-c"
# shellcheck disable=SC2086 # words
${CXX:-c++} -std=c++11 -Wall -Wextra -Wpedantic -Werror "$work/program.cc" $flags -o "$folder/in-c++"
