#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# install-modules.sh BUILD_DIRECTORY MODULE_DIRECTORY
#
# Installs the modules that Kbuild made, without their debugging information.
# It does not run depmod: after an installation into a running system, do.
set -eu

build=$1
directory=${DESTDIR:-}$2

mkdir -p "$directory"
while read -r object; do
        name=$(basename "$object" .o).ko
        install -m 644 "$build/$name" "$directory/$name"
        strip --strip-debug "$directory/$name"
        echo "Installing $name to $directory"
done <"$build/modules.order"
