#!/bin/sh
# SPDX-License-Identifier: MIT
# lint.sh MANDOC PAGE: fails if mandoc has anything to say about the page, apart from what is scdoc's way of writing (a .SP
# register, the date of the build) and nobody's mistake.
out=$("$1" -T lint -W warning "$2") || true
out=$(printf '%s\n' "$out" | grep -v -e '^$' -e 'skipping paragraph macro: P' -e 'skipping unusable escape sequence: .*an-' || true)
[ -z "$out" ] && exit 0
printf '%s\n' "$out"
exit 1
