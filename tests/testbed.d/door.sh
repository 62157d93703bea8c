#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The way from Python to the shell parts: 'door.sh SHOW-PROGRESS FUNCTION ARG…' calls door_FUNCTION (see
# testbed/door.py). It prints the function's result; progress and errors go to standard error, and an error ends it with
# status 125.

set -Eeuo pipefail
trap 'echo "testbed: failed, in ${FUNCNAME[0]-}: $BASH_COMMAND" >&2; exit 125' ERR

TESTBED_DIR=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
PROJECT_DIR=$(cd "$TESTBED_DIR/../.." && pwd)
export TESTBED_DIR PROJECT_DIR # for make-entry.sh

for part in common host trees kernels kernels-source project image module-build; do
        # shellcheck source=/dev/null
        source "$TESTBED_DIR/$part.sh"
done

# door_host: installs what is missing of the host's packages.
door_host() {
        require_root
        umask 022
        cache_setup
        host_prepare
}

# door_make KERNEL BUILD: makes everything a machine needs before its own files are known, and prints where it is.
door_make() {
        door_host
        project_overlay "$2" "$1"
        printf '%s\n' "source=$SOURCE" "key=$(project_key "$SOURCE")" "kernel=$KERNEL" "run_tree=$RUN_TREE" \
                "build=$BUILD" "overlay=$REPLY"
        qemu_tree
        printf '%s\n' "qemu=$REPLY/tree"
}

# door_image RUN-DIR SOURCE KERNEL RUN-TREE OVERLAY ADD… -- UNIT… -- [SCRIPT FILE…]: makes RUN-DIR/initrd, the machine's
# file system.
door_image() {
        # shellcheck disable=SC2034 # for image.sh
        RUN_DIR=$1 SOURCE=$2 KERNEL=$3 RUN_TREE=$4 OVERLAY=$5
        shift 5
        RUN_ADD=() RUN_ENABLE=()
        umask 022
        while [[ $1 != -- ]]; do
                RUN_ADD+=("$1")
                shift
        done
        shift
        while [[ $1 != -- ]]; do
                RUN_ENABLE+=("$1")
                shift
        done
        shift
        image_run_files "$RUN_DIR/files" "$@"
        make_cpio "$RUN_DIR/files" "$RUN_DIR/files.cpio"
        cat "$RUN_TREE/run.cpio" "$KERNEL/modules.cpio" "$OVERLAY/overlay.cpio" "$RUN_DIR/files.cpio" >"$RUN_DIR/initrd"
        rm -rf "$RUN_DIR/files" "$RUN_DIR/files.cpio"
}

# door_foreign_tree: prints where the programs of others are (trees.sh).
door_foreign_tree() {
        door_host
        foreign_tree
        printf '%s\n' "$REPLY/tree"
}

# door_tsc_khz: prints the speed of the host's time stamp counter, or an empty line (host.sh).
door_tsc_khz() {
        host_tsc_khz
        printf '%s\n' "$REPLY"
}

# door_build KIND SOURCE: prints where the build of SOURCE is (project.sh).
door_build() {
        project_build "$1" "$2"
        printf '%s\n' "$REPLY"
}

# door_unit_build SOURCE DIR: compiles SOURCE in DIR/build as a release, or what has changed since the last time.
door_unit_build() {
        local status=0
        build_tree
        # shellcheck disable=SC2016 # expanded by the inner shell
        in_build_tree "$REPLY" "$1" "$2" sh -euc '
                export CCACHE_DIR=/cache
                [ -e /work/build/build.ninja ] || meson setup /work/build /src '"$(meson_options release)"'
                meson compile -C /work/build
        ' >"$2/log" 2>&1 || status=$?
        [[ $status -eq 0 ]] || {
                tail -n 25 "$2/log" >&2
                exit "$EXIT_TESTBED"
        }
}

# door_fuzzers SOURCE: prints where the build of SOURCE's fuzzers is (project.sh).
door_fuzzers() {
        project_fuzzers "$1"
        printf '%s\n' "$REPLY"
}

# door_in_build_tree SOURCE DIR COMMAND…: runs COMMAND in the build tree, with SOURCE as /src (read-only) and DIR as
# /work.
door_in_build_tree() {
        local status=0
        build_tree
        in_build_tree "$REPLY" "$@" || status=$?
        exit "$status"
}

# door_module_build SOURCE WORK: runs the suite 'module-build' in the empty folder WORK (module-build.sh).
door_module_build() {
        module_build "$1" "$2"
}

# shellcheck disable=SC2034 # for common.sh
SHOW_PROGRESS=$1
FUNCTION=$2
shift 2
"door_$FUNCTION" "$@"
