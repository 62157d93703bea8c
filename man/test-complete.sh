#!/bin/sh
# SPDX-License-Identifier: MIT
# test-complete.sh FOLDER MESON-BUILD SYM DMAHEAPCTL DMAHEAP-RUN DMAHEAPD: every function of the library has a manual
# page; the programs' pages describe all of their options and commands, and no option that does not exist.
set -eu
folder=$1 build=$2 sym=$3 ctl=$4 run=$5 daemon=$6
status=0

complain() {
        echo "$*" >&2
        status=1
}

# options: reads a program's help and prints its long options, as '--count='.
options() {
        sed -n 's/^  *\(-[a-z], *\)\{0,1\}\(--[a-z][a-z-]*=\{0,1\}\).*/\2/p' | sort -u
}

# described PAGE: prints the options that have a paragraph of their own in the page.
described() {
        grep -E '^	?(\*-|\*--)' "$folder/$1.scd" | grep -oE -- '--[a-z][a-z-]*=?' | sort -u
}

# compare PAGE OPTIONS: the page describes these options and no others.
compare() {
        [ -n "$2" ] || complain "$1: no options found in the program's help"
        for option in $2; do
                described "$1" | grep -qx -- "$option" || complain "$1 lacks $option"
        done
        for option in $(described "$1"); do
                printf '%s\n' "$2" | grep -qx -- "$option" || complain "$1 has $option, which does not exist"
        done
}

for function in $(grep -o 'dmaheap_[a-z_0-9]*;' "$sym" | tr -d ';'); do
        grep -q "'$function'" "$build" || complain "no page for $function()"
        grep -q "\*$function\*()\|^.* $function(" "$folder"/*.3.scd || complain "no page describes $function()"
done

verbs=$("$ctl" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')
for verb in $verbs; do
        grep -q "^\*$verb\*" "$folder/dmaheapctl.1.scd" || complain "dmaheapctl(1) lacks $verb"
done
# shellcheck disable=SC2086 # an empty verb must not become an argument
compare dmaheapctl.1 "$(for verb in '' $verbs; do "$ctl" $verb --help; done | options)"
compare dmaheap-run.1 "$("$run" --help | options)"
compare dmaheapd.8 "$("$daemon" --help | options)"
exit $status
