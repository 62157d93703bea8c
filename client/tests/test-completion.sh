#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# test-completion.sh DMAHEAPCTL DMAHEAP-RUN FOLDER: bash completes exactly the commands and options of the programs'
# help, and the files for zsh contain the same options. tests/vm/test_client_foreign.py runs zsh's completions.
set -euo pipefail
program=$1 run=$2 folder=$3
# shellcheck source=/dev/null
source "$folder/dmaheapctl.bash"

compopt() { :; }
# complete_line FUNCTION LINE: prints what the completion function offers at the end of a line.
complete_line() {
        read -ra COMP_WORDS <<<"$2"
        [[ $2 == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        COMPREPLY=()
        "$1"
        printf '%s\n' "${COMPREPLY[@]}" | sort
}
# expect LINE WORDS: the end of a line completes to exactly these words, one a line.
expect() {
        local got function=_dmaheapctl
        [[ $1 != dmaheap-run* ]] || function=_dmaheap_run
        got=$(complete_line $function "$1")
        [[ $got == "$2" ]] || { printf "completing '%s': got\n%s\nexpected\n%s\n" "$1" "$got" "$2" >&2; exit 1; }
}
# expect_zsh FILE OPTION…: a completion file for zsh contains the options.
expect_zsh() {
        local file=$folder/$1 option
        shift
        for option in "$@"; do
                grep -qE -- "(^|[^-a-z])${option%=}(=|\[|\}|,)" "$file" || { echo "$file lacks $option" >&2; exit 1; }
        done
}
# options: reads a program's help and prints its long options, as '--count='.
options() {
        grep -oE '^  (-[a-z], )?--[a-z-]+=?' | grep -oE -- '--.*' | sort
}

verbs=$("$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' | sort)
expect 'dmaheapctl ' "$verbs"
for verb in $verbs; do
        options=$("$program" "$verb" --help | options)
        expect "dmaheapctl $verb --" "$(printf '%s\n--help' "$options" | sort)"
        # shellcheck disable=SC2086 # words
        expect_zsh _dmaheapctl $options
done
expect 'dmaheapctl allocate --role = c' contiguous
expect 'dmaheapctl --json = ' "$(printf 'pretty\nshort')"
expect 'dmaheapctl allocate 8M -- cat /etc/os-releas' /etc/os-release

options=$("$run" --help | options)
expect 'dmaheap-run --' "$options"
# shellcheck disable=SC2086 # words
expect_zsh _dmaheap-run $options
expect 'dmaheap-run -v cat /etc/os-releas' /etc/os-release
