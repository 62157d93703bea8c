# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# 'exec' and 'shell': one machine, one script or one login.

# run_defaults: what a machine is like unless told otherwise.
run_defaults() {
        RUN_KERNEL=stock
        RUN_BUILD=release
        RUN_APPEND=
        RUN_MEMORY=2048
        RUN_TIMEOUT=600
        RUN_ENABLE=()
        RUN_ADD=()
}

# run_options ARG…: reads the options into RUN_*, and sets REPLY to the number of arguments they took.
run_options() {
        local given=$#
        run_defaults
        while [[ $# -gt 0 ]]; do
                case $1 in
                --*=*)
                        set -- "${1%%=*}" "${1#*=}" "${@:2}"
                        given=$((given + 1))
                        continue
                        ;;
                --)
                        shift
                        break
                        ;;
                --*) [[ $# -gt 1 ]] || die "$1 needs a value" ;;
                *) break ;;
                esac
                case $1 in
                --kernel) RUN_KERNEL=$2 ;;
                --build) RUN_BUILD=$2 ;;
                --append) RUN_APPEND+=" $2" ;;
                --memory) RUN_MEMORY=$2 ;;
                --timeout) RUN_TIMEOUT=$2 ;;
                --enable) RUN_ENABLE+=("$2") ;;
                --add) RUN_ADD+=("$2") ;;
                *) die "unknown option $1" ;;
                esac
                shift 2
        done
        run_check
        REPLY=$((given - $#))
}

# run_check: refuses what cannot work before any work is done.
run_check() {
        local add
        [[ $RUN_TIMEOUT =~ ^[1-9][0-9]*$ ]] || die "--timeout $RUN_TIMEOUT: not a number of seconds"
        [[ $RUN_MEMORY =~ ^[1-9][0-9]*[KMGkmg]?$ ]] || die "--memory $RUN_MEMORY: not a size"
        meson_options "$RUN_BUILD" >/dev/null || die "there is no build '$RUN_BUILD' (there are: release, sanitize, hooks)"
        for add in "${RUN_ADD[@]}"; do
                [[ $add == *:/* ]] || die "--add $add: not SRC:/DST"
                [[ -e ${add%:*} ]] || die "--add ${add%:*}: no such file or folder"
        done
}

# run_setup KERNEL BUILD: makes everything a machine needs before its own files are known.
run_setup() {
        require_root
        umask 022
        cache_setup
        host_prepare
        project_overlay "$2" "$1"
        OVERLAY=$REPLY
        qemu_tree
}

# run_boot FILE…: prepares the folder of a machine with the FILEs, the first of them its script.
run_boot() {
        machine_folder
        image_run_files "$RUN_DIR/files" "$@"
        make_cpio "$RUN_DIR/files" "$RUN_DIR/files.cpio"
        machine_initrd "$RUN_TREE/run.cpio" "$KERNEL/modules.cpio" "$OVERLAY/overlay.cpio" "$RUN_DIR/files.cpio"
        rm -rf "$RUN_DIR/files" "$RUN_DIR/files.cpio"
        machine_command "$KERNEL" "$RUN_MEMORY" "$RUN_APPEND"
}

command_exec() {
        local file
        [[ ! -t 2 ]] || show_progress
        run_options "$@"
        shift "$REPLY"
        [[ $# -gt 0 ]] || die "exec needs a script"
        for file in "$@"; do
                [[ -r $file ]] || die "$file: no such file"
        done
        [[ -f $1 ]] || die "$1: not a file"
        run_setup "$RUN_KERNEL" "$RUN_BUILD"
        run_boot "$@"
        machine_run "$RUN_TIMEOUT"
        exit "$REPLY"
}

command_shell() {
        show_progress
        run_options "$@"
        shift "$REPLY"
        [[ $# -eq 0 ]] || die "shell takes options only"
        run_setup "$RUN_KERNEL" "$RUN_BUILD"
        RUN_ADD+=("$TESTBED_DIR/testbed-login.service:/etc/systemd/system/testbed-login.service")
        RUN_ENABLE+=(testbed-login.service)
        run_boot
        progress "booting; log out with 'poweroff', or leave with Ctrl-A X"
        "${MACHINE[@]}" -serial mon:stdio
}
