#!/bin/sh
# SPDX-License-Identifier: MIT
# lint.sh MANDOC PAGE…: fails if mandoc has anything to say about a page, but for what is scdoc's way of writing and shows
# nowhere: a paragraph that begins twice.
mandoc=$1
shift
out=$("$mandoc" -T lint -W warning "$@") || true
out=$(printf '%s\n' "$out" | grep -v -e '^$' -e 'WARNING: skipping paragraph macro: ' || true)
[ -z "$out" ] && exit 0
printf '%s\n' "$out"
exit 1
