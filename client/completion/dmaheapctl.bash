# SPDX-License-Identifier: MIT
# Completion for dmaheapctl and dmaheap-run in bash.

__dmaheapctl_heaps() {
        dmaheapctl --timeout=2 list --json=short 2>/dev/null | grep -o '{"name":"[^"]*"' | cut -d '"' -f 4
}

__dmaheapctl_units() {
        systemctl list-units --all --plain --no-legend 2>/dev/null | cut -d ' ' -f 1
}

_dmaheapctl() {
        local cur
        local common='--help --json= --bytes --timeout= --address='
        local verbs='list allocate usage clients buffers info monitor top'
        local verb= i word=

        # '=' is a word of its own in COMP_WORDS. word becomes the option whose value is completed, and cur the
        # beginning of that value.
        cur=${COMP_WORDS[COMP_CWORD]}
        if [[ $cur == '=' ]]; then
                word=${COMP_WORDS[COMP_CWORD - 1]} cur=
        elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == '=' ]]; then
                word=${COMP_WORDS[COMP_CWORD - 2]}
        elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == -[nd] || ${COMP_WORDS[COMP_CWORD - 1]} == --[a-z]* ]]; then
                word=${COMP_WORDS[COMP_CWORD - 1]}
        fi

        for ((i = 1; i < COMP_CWORD; i++)); do
                if [[ ${COMP_WORDS[i]} == -- ]]; then
                        COMP_WORDS=("${COMP_WORDS[@]:i + 1}")
                        COMP_CWORD=$((COMP_CWORD - i - 1))
                        COMPREPLY=()
                        if ((COMP_CWORD == 0)); then
                                mapfile -t COMPREPLY < <(compgen -c -- "$cur")
                        else
                                mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                        fi
                        return
                fi
                if [[ -z $verb && " $verbs " == *" ${COMP_WORDS[i]} "* ]]; then
                        verb=${COMP_WORDS[i]}
                fi
        done

        local choices
        case $word in
        --json) choices='pretty short' ;;
        --role) choices='system contiguous protected' ;;
        --heap) choices=$(__dmaheapctl_heaps) ;;
        --unit) choices=$(__dmaheapctl_units) ;;
        --uid)
                mapfile -t COMPREPLY < <(compgen -u -- "$cur")
                return
                ;;
        --address)
                mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                return
                ;;
        --timeout | --delay | --count | --label | --iterations | -n | -d) return ;;
        *)
                case $verb in
                '') choices="$verbs $common --version" ;;
                allocate) choices="$common --role= --heap= --count= --read-only --label=" ;;
                buffers) choices="$common --unit= --uid=" ;;
                top) choices="$common --delay= --iterations=" ;;
                *) choices=$common ;;
                esac
                # Before the command, offer options only if the word begins with '-'.
                [[ -z $verb && $cur != -* ]] && choices=$verbs
                ;;
        esac

        mapfile -t COMPREPLY < <(compgen -W "$choices" -- "$cur")
        if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
                compopt -o nospace
        fi
}

_dmaheap_run() {
        local cur=${COMP_WORDS[COMP_CWORD]} i

        for ((i = 1; i < COMP_CWORD; i++)); do
                if [[ ${COMP_WORDS[i]} != -* ]]; then
                        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                        return
                fi
        done
        if [[ $cur == -* ]]; then
                mapfile -t COMPREPLY < <(compgen -W '--verbose --address= --help --version' -- "$cur")
        else
                mapfile -t COMPREPLY < <(compgen -c -- "$cur")
        fi
}

complete -F _dmaheapctl dmaheapctl
complete -o filenames -F _dmaheap_run dmaheap-run
