#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# test-completion.sh DMAHEAPCTL COMPLETION: what bash completes is what the program takes, option by option.
set -euo pipefail
program=$1
# shellcheck source=/dev/null
source "$2"

compopt() { :; }
complete_line() {
        read -ra COMP_WORDS <<<"$1"
        [[ $1 == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        COMPREPLY=()
        _dmaheapctl
        printf '%s\n' "${COMPREPLY[@]}" | sort
}
expect() {
        local got
        got=$(complete_line "$1")
        [[ $got == "$2" ]] || { printf "completing '%s': got\n%s\nexpected\n%s\n" "$1" "$got" "$2" >&2; exit 1; }
}

verbs=$("$program" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' | sort)
expect 'dmaheapctl ' "$verbs"
for verb in $verbs; do
        options=$("$program" "$verb" --help | grep -oE '^  (-[a-z], )?--[a-z-]+=?' | grep -oE -- '--.*' | sort)
        expect "dmaheapctl $verb --" "$(printf '%s\n--help' "$options" | sort)"
done
expect 'dmaheapctl allocate --role = c' contiguous
expect 'dmaheapctl --json = ' "$(printf 'pretty\nshort')"
expect 'dmaheapctl allocate 8M -- cat /etc/os-releas' /etc/os-release
