#!/bin/sh
# SPDX-License-Identifier: MIT
# page.sh SCDOC TIDY-AWK: a manual page, from standard input to standard output.
set -eu
page=$("$1")
printf '%s\n' "$page" | awk -f "$2"
