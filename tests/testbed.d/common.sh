# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# What every part uses: messages, failure, and the cache.
#
# The cache holds entries of several kinds (build trees, kernels, builds, ...). An entry is a directory named by a
# hash of all that it was made from. It is made under tmp/ while its lock is held and renamed into place when it is
# complete, so that no run ever sees a half-made one, and two runs that want the same one wait for each other.

CACHE=/var/cache/dmaheapd-testbed

# Whether progress goes to standard error (door.sh).
SHOW_PROGRESS=no

# The exit status for failures of the testbed itself.
readonly EXIT_TESTBED=125

# progress TEXT…: prints one line about what is being done.
progress() {
        if [[ $SHOW_PROGRESS == yes ]]; then
                printf 'testbed: %s\n' "$*" >&2
        fi
}

# die TEXT…: ends the run, because the testbed itself has failed.
die() {
        printf 'testbed: %s\n' "$*" >&2
        exit "$EXIT_TESTBED"
}

# require_root: fails without root, which chroot, mounts and packages need.
require_root() {
        [[ $EUID -eq 0 ]] || die "must be run as root"
}

# hash_text TEXT…: prints 24 hex digits that name these arguments.
hash_text() {
        printf '%s\0' "$@" | sha256sum | cut -c 1-24
}

# cache_setup: makes the directories of the cache.
cache_setup() {
        mkdir -p "$CACHE"/{tmp,locks,logs} || die "cannot write $CACHE"
        find "$CACHE/logs" -mtime +30 -delete
}

# cache_make KIND KEY WHAT MAKER [ARG…]: sets REPLY to the path of the entry KIND/KEY. Where there is none yet, runs
# 'MAKER DIR ARG…' with an empty DIR, which becomes the entry if that succeeds. WHAT says in words what is made.
cache_make() {
        local kind=$1 key=$2 what=$3
        shift 3
        local entry=$CACHE/$kind/$key log=$CACHE/logs/$kind-$key.log lock started=$SECONDS
        REPLY=$entry

        if [[ ! -d $entry ]]; then
                exec {lock}>"$CACHE/locks/$kind-$key"
                flock --nonblock "$lock" || {
                        progress "waiting for another run that makes $what"
                        flock "$lock"
                }
                if [[ ! -d $entry ]]; then
                        progress "making $what"
                        cache_fill "$kind" "$key" "$log" "$@" || cache_failed "$what" "$log"
                        progress "made $what in $((SECONDS - started)) s"
                fi
                exec {lock}>&-
        fi
        touch --no-create "$entry"
}

# cache_fill KIND KEY LOG MAKER [ARG…]: makes an entry. The caller holds its lock.
cache_fill() {
        local kind=$1 key=$2 log=$3 maker=$4
        shift 4
        local dir=$CACHE/tmp/$kind-$key.$BASHPID

        # A run that was killed may have left a half-made one.
        rm -rf --one-file-system "$CACHE/tmp/$kind-$key".*
        mkdir -p "$dir" "$CACHE/$kind"
        bash "$TESTBED_DIR/make-entry.sh" "$maker" "$dir" "$@" >"$log" 2>&1 </dev/null || return 1
        mv -T "$dir" "$CACHE/$kind/$key"
}

# cache_failed WHAT LOG: prints the end of the log and where it is, and ends the run.
cache_failed() {
        {
                printf 'testbed: making %s failed; the end of %s:\n' "$1" "$2"
                tail -n 25 "$2" | cut -c 1-200 | sed 's/^/    /'
        } >&2
        exit "$EXIT_TESTBED"
}

# cache_prune KIND N: removes entries of one kind but for the N used last and those used within six hours.
cache_prune() {
        local entry
        [[ -d $CACHE/$1 ]] || return 0
        while read -r entry; do
                rm -rf --one-file-system "${CACHE:?}/$1/$entry"
        done < <(cd "$CACHE/$1" && find . -mindepth 1 -maxdepth 1 -printf '%T@ %f\n' | sort -rn |
                tail -n "+$(($2 + 1))" | awk -v old="$(($(date +%s) - 21600))" '$1 < old {print $2}')
}

# in_tree TREE [--bind SRC:DST[:ro]]… -- COMMAND…: runs COMMAND chrooted into TREE, with /proc, /sys, /dev and the
# binds, in a mount namespace of its own: whatever happens, nothing stays mounted.
in_tree() {
        local tree=$1
        shift
        local binds=()
        while [[ $1 != -- ]]; do
                binds+=("$2")
                shift 2
        done
        shift
        # shellcheck disable=SC2016 # expanded by the inner shell
        unshare --mount --propagation private -- bash -euc '
                tree=$1 n=$2
                shift 2
                mount --bind "$tree" "$tree"
                mount -t proc proc "$tree/proc"
                mount --rbind /dev "$tree/dev"
                while [ "$n" -gt 0 ]; do
                        IFS=: read -r src dst flag <<<"$1"
                        mkdir -p "$tree/$dst"
                        mount --bind "$src" "$tree/$dst"
                        [ "$flag" != ro ] || mount -o remount,bind,ro "$tree/$dst"
                        shift
                        n=$((n - 1))
                done
                exec chroot "$tree" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \
                        TMPDIR=/tmp "$@"
        ' in_tree "$tree" "${#binds[@]}" "${binds[@]}" "$@"
}
