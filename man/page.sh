#!/bin/sh
# SPDX-License-Identifier: MIT
# page.sh SCDOC TIDY-AWK: reads the source of a manual page from standard input and writes the page to standard output.
set -eu
page=$("$1")
printf '%s\n' "$page" | awk -f "$2"
