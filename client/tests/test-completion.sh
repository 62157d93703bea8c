#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# test-completion.sh DMAHEAPCTL DMAHEAP-RUN FOLDER: what bash completes is what the programs take, option by option; and
# zsh's completions name the same, which tests/vm/test_client_foreign.py types.
set -euo pipefail
program=$1 run=$2 folder=$3
# shellcheck source=/dev/null
source "$folder/dmaheapctl.bash"

compopt() { :; }
complete_line() {
        read -ra COMP_WORDS <<<"$2"
        [[ $2 == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        COMPREPLY=()
        "$1"
        printf '%s\n' "${COMPREPLY[@]}" | sort
}
expect() {
        local got function=_dmaheapctl
        [[ $1 != dmaheap-run* ]] || function=_dmaheap_run
        got=$(complete_line $function "$1")
        [[ $got == "$2" ]] || { printf "completing '%s': got\n%s\nexpected\n%s\n" "$1" "$got" "$2" >&2; exit 1; }
}
# expect_zsh FILE OPTION…: the options stand in a file of zsh's.
expect_zsh() {
        local file=$folder/$1 option
        shift
        for option in "$@"; do
                grep -qE -- "(^|[^-a-z])${option%=}(=|\[|\}|,)" "$file" || { echo "$file lacks $option" >&2; exit 1; }
        done
}
# options: those of a program's help, as '--count='.
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
