# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# The machine's file system is an initramfs: several cpio archives one after the other, where what comes later wins.
# The run tree and the kernel's modules seldom change, the project's files do with each build, and only the last one,
# a few kilobytes, is made for each run.

# make_cpio FOLDER FILE: packs FOLDER into FILE.
make_cpio() {
        (cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio --null --create --format=newc --quiet) >"$2"
}

# image_path DST: prints the path of DST in a system where /bin, /lib and /sbin are links into /usr.
image_path() {
        local path
        path=$(realpath --canonicalize-missing --no-symlinks "/$1")
        case $path in
        /bin/* | /lib/* | /lib64/* | /sbin/*) path=/usr$path ;;
        esac
        printf '%s\n' "$path"
}

# image_run_files DIR SCRIPT FILE…: puts under DIR what one run adds, with RUN_ADD and RUN_ENABLE (door.sh).
image_run_files() {
        local dir=$1 add src dst release
        release=$(<"$KERNEL/release")
        shift
        mkdir -p "$dir"
        chmod 0755 "$dir"
        for add in "${RUN_ADD[@]}"; do
                src=${add%:*}
                dst=$dir$(image_path "${add##*:}")
                mkdir -p "$(dirname "$dst")"
                if [[ -d $src && ! -L $src ]]; then
                        mkdir -p "$dst"
                        cp -rPT --preserve=mode,timestamps,links "$src" "$dst"
                else
                        cp -L --preserve=mode,timestamps "$src" "$dst"
                fi
        done
        if [[ -d $dir/usr/lib/modules/$release ]]; then
                # shellcheck disable=SC2153 # set by project_overlay
                image_depmod "$RUN_TREE" "$release" "$dir" "$KERNEL/modules" "$OVERLAY/root"
        fi
        image_test_modules "$dir"
        if [[ $# -gt 0 ]]; then
                mkdir -p "$dir/testbed" "$dir/etc/testbed"
                cp -rL --preserve=mode,timestamps "$@" "$dir/testbed/"
                printf '%s' "$(basename "$1")" >"$dir/etc/testbed/script"
        fi
        if [[ ${#RUN_ENABLE[@]} -gt 0 ]]; then
                image_enable "$dir" "${RUN_ENABLE[@]}"
        fi
}

# image_test_modules DIR: puts SOURCE's suites and what they share (tests/vm/lib) under DIR, where Python finds them as
# modules. Python looks into the script's own folder first, so its FILEs may have any name.
image_test_modules() {
        local tests=$1/usr/lib/testbed/tests
        mkdir -p "$tests/lib" "$1/usr/lib/python3/dist-packages"
        cp "$SOURCE"/tests/vm/test_*.py "$tests"
        cp "$SOURCE"/tests/vm/lib/*.py "$tests/lib"
        printf '%s\n' /usr/lib/testbed/tests /usr/lib/testbed/tests/lib >"$1/usr/lib/python3/dist-packages/testbed.pth"
}

# image_depmod RUN-TREE RELEASE LAYER BELOW…: makes the lists of modules of LAYER, which has some, and of the layers
# BELOW, and puts them into LAYER.
image_depmod() {
        local run_tree=$1 release=$2 layer=$3 part merged=$3.merged
        shift 3
        for part in "$@" "$layer"; do
                [[ -d $part/usr/lib/modules/$release ]] || continue
                mkdir -p "$merged/usr/lib/modules/$release"
                cp -aT "$part/usr/lib/modules/$release" "$merged/usr/lib/modules/$release"
        done
        depmod_in "$run_tree" "$merged" "$release"
        cp "$merged/usr/lib/modules/$release"/modules.* "$layer/usr/lib/modules/$release/"
        rm -rf "$merged"
}

# image_enable DIR UNIT…: makes in DIR the links that 'systemctl enable UNIT' makes. The units are those of the run
# tree, the project and DIR itself.
image_enable() {
        local dir=$1 root=$RUN_DIR/enable tree layer
        shift
        mkdir -p "$root"
        for layer in "$RUN_TREE/tree" "$OVERLAY/root" "$dir"; do
                for tree in etc/systemd usr/lib/systemd usr/local/lib/systemd; do
                        [[ -d $layer/$tree ]] || continue
                        mkdir -p "$root/$tree"
                        cp -aT "$layer/$tree" "$root/$tree"
                done
        done
        in_tree "$RUN_TREE/tree" --bind "$root:/mnt" -- \
                systemctl --root=/mnt enable "$@" >"$RUN_DIR/enable.log" 2>&1 || {
                die "cannot enable $*: $(tail -n 1 "$RUN_DIR/enable.log")"
        }
        mkdir -p "$dir/etc/systemd"
        cp -aT "$root/etc/systemd" "$dir/etc/systemd"
}
