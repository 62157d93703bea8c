#!/bin/sh
# SPDX-License-Identifier: MIT
# test-symbols.sh LIBRARY HEADER SYM: the library exports the functions that the header declares and that the version
# script lists, and no others; the header does not mention libsystemd.
set -eu
export LC_ALL=C

exported=$(nm -D --defined-only "$1" | sed -n 's/^[0-9a-f]* T \([a-z_0-9]*\)@@*LIBDMAHEAP_0$/\1/p' | sort)
declared=$(grep -o '^[A-Za-z].*\bdmaheap_[a-z_0-9]*(' "$2" | grep -o 'dmaheap_[a-z_0-9]*' | sort)
listed=$(grep -o 'dmaheap_[a-z_0-9]*;' "$3" | tr -d ';' | sort)

[ -n "$exported" ]
if [ "$exported" != "$listed" ] || [ "$exported" != "$declared" ]; then
        printf 'exported:\n%s\n\nlisted:\n%s\n\ndeclared:\n%s\n' "$exported" "$listed" "$declared" >&2
        exit 1
fi
if nm -D --defined-only "$1" | grep -v -e '@LIBDMAHEAP_0$' -e ' A LIBDMAHEAP_0$'; then
        echo "exported without a version" >&2
        exit 1
fi
if grep -n 'sd_\|systemd/' "$2"; then
        echo "the header shows libsystemd" >&2
        exit 1
fi
