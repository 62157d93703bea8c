#!/bin/sh
# SPDX-License-Identifier: MIT
# test-complete.sh FOLDER MESON-BUILD SYM DMAHEAPCTL DMAHEAP-RUN: every function has a manual page, and every option and
# command of the programs is in theirs.
set -eu
folder=$1 build=$2 sym=$3 ctl=$4 run=$5
status=0

complain() {
        echo "$*" >&2
        status=1
}

# options PROGRAM-HELP: prints the long options, as '--count='.
options() {
        grep -oE -- '--[a-z][a-z-]*=?' | sort -u
}

for function in $(grep -o 'dmaheap_[a-z_0-9]*;' "$sym" | tr -d ';'); do
        grep -q "'$function'" "$build" || complain "no page for $function()"
        grep -q "\*$function\*()\|^.* $function(" "$folder"/*.3.scd || complain "no page describes $function()"
done

verbs=$("$ctl" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
for verb in $verbs; do
        grep -q "^\*$verb\*" "$folder/dmaheapctl.1.scd" || complain "dmaheapctl(1) lacks $verb"
        for option in $("$ctl" "$verb" --help | sed -n '/^Options:/,/^$/p' | options); do
                grep -q -- "\*$option" "$folder/dmaheapctl.1.scd" || complain "dmaheapctl(1) lacks $verb $option"
        done
done
for option in $("$run" --help | sed -n '/^Options:/,/^$/p' | options); do
        grep -q -- "\*$option" "$folder/dmaheap-run.1.scd" || complain "dmaheap-run(1) lacks $option"
done
exit $status
