# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# The testbed takes from the host a few packages, and the address of the archive that they come from.

# Commands that the testbed needs and the packages they are in, one pair a line.
readonly HOST_NEEDS='
mmdebstrap mmdebstrap
cpio cpio
zstd zstd
xz xz-utils
mount mount
python3 python3
patch patch
'

# host_prepare: installs the packages that are missing.
host_prepare() {
        local command package missing=() log=$CACHE/logs/host.log
        while read -r command package; do
                [[ -z $command ]] || command -v "$command" >/dev/null || missing+=("$package")
        done <<<"$HOST_NEEDS"
        [[ ${#missing[@]} -gt 0 ]] || return 0
        command -v apt-get >/dev/null || die "needs ${missing[*]}, and this is no Debian (12 or later)"
        progress "installing ${missing[*]}"
        {
                apt-get update &&
                        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install --yes \
                                --no-install-recommends "${missing[@]}"
        } >"$log" 2>&1 </dev/null || cache_failed "the packages ${missing[*]} ready" "$log"
}

# host_archive: prints the address of the Debian archive this machine installs from.
host_archive() {
        local address
        address=$(host_archive_known)
        if [[ -z $address ]]; then
                apt-get update >&2
                address=$(host_archive_known)
        fi
        [[ -n $address ]] || {
                echo "apt-get indextargets names no Debian archive" >&2
                return 1
        }
        printf '%s\n' "$address"
}

# host_archive_known: the same, if apt knows it now. The suite that this machine runs comes first. Archives of others
# and Debian's security archive do not count.
host_archive_known() {
        local codename
        codename=$(. /etc/os-release && echo "${VERSION_CODENAME-}")
        # shellcheck disable=SC2016 # apt's own dollars
        apt-get indextargets --format '$(CODENAME)|$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)' 'Created-By: Packages' |
                awk -F '|' -v codename="$codename" '
                        $2 == "Debian" && $4 == "main" && $3 !~ /Security/ {
                                print ($1 == codename ? 0 : 1) "|" $5
                        }' |
                sort -s -t '|' -k 1,1n | head -n 1 | cut -d '|' -f 2
}

# host_apt_conf: prints the part of this machine's apt configuration that is about reaching the archive.
host_apt_conf() {
        apt-config dump |
                grep -E '^Acquire::((http|https|ftp)(::|\b)|Check-|Retries|ForceIPv|Queue-Mode)' |
                grep -vE '^[^ ]+ "";$' || true
        if [[ -e /etc/apt/auth.conf || -n $(ls -A /etc/apt/auth.conf.d 2>/dev/null) ]]; then
                echo 'Dir::Etc::netrc "/etc/apt/auth.conf";'
                echo 'Dir::Etc::netrcparts "/etc/apt/auth.conf.d";'
        fi
}

# host_tsc_khz: sets REPLY to the frequency of the host's time stamp counter in kHz, or to nothing if it has none. An
# emulated processor has the same.
host_tsc_khz() {
        local tree
        if [[ $(uname -m) != x86_64 ]]; then
                REPLY=
                return
        fi
        build_tree
        tree=$REPLY
        cache_make tsc-khz "$(hash_text "$tree" "$(<"$TESTBED_DIR/tsc-khz.c")")" "what measures the host's clock" \
                tsc_khz_make "$tree"
        REPLY=$("$REPLY/tsc-khz")
}

tsc_khz_make() {
        local dir=$1 tree=$2
        cp "$TESTBED_DIR/tsc-khz.c" "$dir/"
        in_tree "$tree" --bind "$dir:/work" -- gcc -O2 -Wall -Wextra -Werror -static -o /work/tsc-khz /work/tsc-khz.c
}
