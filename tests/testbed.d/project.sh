# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# The project as its package would install it: a copy of its files, the build of that copy, its modules for a kernel,
# and all of it as one layer of the machine's file system.

# meson_options KIND: prints what a build of KIND is configured with, or fails.
meson_options() {
        local common='--prefix=/usr --libdir=lib/x86_64-linux-gnu --sysconfdir=/etc --localstatedir=/var'
        common+=' --buildtype=debugoptimized -Dwerror=true'
        case $1 in
        release) echo "$common" ;;
        hooks) echo "$common -Dtest_hooks=true" ;;
        sanitize) echo "$common -Dtest_hooks=true -Db_sanitize=address,undefined -Db_lundef=false" ;;
        *) return 1 ;;
        esac
}

# project_files: prints the project's files, each ended by NUL.
project_files() {
        local list=(git -c 'safe.directory=*' ls-files -z -co --exclude-standard)
        cd "$PROJECT_DIR" || return
        "${list[@]}" >/dev/null 2>&1 || list=(find . -name .git -prune -o -type f -printf '%P\0')
        "${list[@]}" | LC_ALL=C sort -zu | while IFS= read -r -d '' file; do
                [[ ! -f $file ]] || printf '%s\0' "$file"
        done
}

# project_key SOURCE: prints a name for what SOURCE is built from. Files that only the testbed reads (itself, the
# scripts that run in machines, and the mutants) are left out, so a change of these builds nothing again.
project_key() {
        (cd "$1" && find . -type f -printf '%P\0' |
                grep -zvE '^(\.ci/|tests/(testbed|testbed\.d/|mutants/|(vm|bench)/.*\.(py|sh)$))' |
                LC_ALL=C sort -z | xargs -0r sha256sum --) | sha256sum | cut -c 1-24
}

# hash_folder FOLDER [PART…]: prints a name for what is in FOLDER, or in those of its PARTs that there are.
hash_folder() {
        local folder=$1
        shift
        (cd "$folder" && { find "${@:-.}" -type f -print0 2>/dev/null || true; } |
                LC_ALL=C sort -z | xargs -0r sha256sum --) | sha256sum | cut -c 1-24
}

# project_source: sets REPLY to a copy of the project's files, which does not change any more. A run of the testbed that
# another one started ('test' starts 'exec') uses the copy that TESTBED_SOURCE names.
project_source() {
        local copy=$CACHE/tmp/source.$BASHPID try
        if [[ -d ${TESTBED_SOURCE-} ]]; then
                REPLY=$TESTBED_SOURCE
                touch "$REPLY"
                return
        fi
        for try in 1 2 3; do
                rm -rf "$copy"
                mkdir -p "$copy" "$CACHE/source"
                # A file may vanish while it is copied.
                if project_files | (cd "$PROJECT_DIR" && xargs -0r cp -p --parents -t "$copy"); then
                        break
                fi
                [[ $try -lt 3 ]] || die "cannot copy the project's files"
        done
        REPLY=$CACHE/source/$(hash_folder "$copy")
        mv -T "$copy" "$REPLY" 2>/dev/null || rm -rf "$copy"
        touch "$REPLY"
}

# project_build KIND SOURCE: sets REPLY to a build of SOURCE, with the build folder in build/ and what it installs in
# root/.
project_build() {
        local kind=$1 source=$2 options tree
        options=$(meson_options "$kind") || die "there is no build '$kind' (there are: release, sanitize, hooks)"
        build_tree
        tree=$REPLY
        cache_make build "$kind-$(hash_text 3 "$(project_key "$source")" "$tree" "$options")" "the project ($kind)" \
                project_build_make "$tree" "$source" "$options"
}

project_build_make() {
        local dir=$1 tree=$2 source=$3 options=$4
        mkdir -p "$dir/root" "$CACHE/ccache"
        [[ -e $source/meson.build ]] || return 0
        in_build_tree "$tree" "$source" "$dir" sh -euc '
                export CCACHE_DIR=/cache DESTDIR=/work/root
                meson setup /work/build /src '"$options"'
                meson compile -C /work/build
                meson install -C /work/build --no-rebuild
        '
        # A program of others would need the sanitizer's flags, which pkg-config does not have.
        [[ $options == *b_sanitize* ]] || in_build_tree "$tree" "$source" "$dir" \
                sh /src/client/tests/outside.sh /work/root /src/README.md /work/root/usr/lib/dmaheapd/outside
}

# project_fuzzers SOURCE: sets REPLY to a build of SOURCE's fuzzers, in build/.
project_fuzzers() {
        local source=$1 tree
        build_tree
        tree=$REPLY
        cache_make build "fuzz-$(hash_text 2 "$(project_key "$source")" "$tree")" "the fuzzers" \
                project_fuzzers_make "$tree" "$source"
}

project_fuzzers_make() {
        local dir=$1 tree=$2 source=$3
        # shellcheck disable=SC2016 # expanded by the inner shell
        in_build_tree "$tree" "$source" "$dir" sh -euc '
                CC=clang meson setup /work/build /src -Dfuzzers=true -Dtests=false -Dman=disabled -Dwerror=true
                meson compile -C /work/build $(cd /src/tests/fuzz && basename -s .c fuzz-*.c)
        '
}

# in_build_tree TREE SOURCE DIR COMMAND…: runs COMMAND in the build tree with SOURCE as /src (read-only) and DIR as
# /work. The paths are always the same, so that ccache recognizes files.
in_build_tree() {
        local tree=$1 source=$2 dir=$3
        shift 3
        mkdir -p "$CACHE/ccache"
        in_tree "$tree" --bind "$source:/src:ro" --bind "$dir:/work" --bind "$CACHE/ccache:/cache" -- "$@"
}

# project_modules KERNEL-NAME KERNEL SOURCE: sets REPLY to the modules for that kernel: those that the project installs
# in root/, those that only tests use in test/.
project_modules() {
        local name=$1 kernel=$2 source=$3
        build_tree
        cache_make modules "$name-$(hash_text 1 "$kernel" "$REPLY" "$(kernel_own_modules "$name")" \
                "$(hash_folder "$source" meson.build meson.options module tests/modules)")" \
                "the modules for the kernel '$name'" \
                project_modules_make "$REPLY" "$source" "$kernel" "$(kernel_own_modules "$name")"
}

project_modules_make() {
        local dir=$1 tree=$2 source=$3 kernel=$4 wanted=$5 headers
        mkdir -p "$dir"/{root,test}
        [[ -n $wanted && -e $source/meson.build ]] || return 0
        headers=$(kernel_build_folder "$kernel")
        [[ ! -d $kernel/build ]] || cp -al "$kernel/build" "$dir/kernel"
        # shellcheck disable=SC2046 # a list of words
        in_build_tree "$tree" "$source" "$dir" meson setup /work/build /src $(meson_options release) \
                -Dmodules=true -Dkernel_dir="$headers"
        in_build_tree "$tree" "$source" "$dir" meson compile -C /work/build modules
        in_build_tree "$tree" "$source" "$dir" env DESTDIR=/work/root \
                meson install -C /work/build --no-rebuild --tags modules
        find "$dir/root" -name '*.ko' -not -name "$wanted.ko" -delete
        if [[ -e $source/tests/modules/Makefile ]]; then
                in_build_tree "$tree" "$source" "$dir" make -C /src/tests/modules KDIR="$headers" \
                        MODULES=/work/build/module BUILD=/work/build/test-modules
                find "$dir/build/test-modules" -name '*.ko' -exec cp {} "$dir/test/" \;
        fi
        rm -rf "$dir/build" "$dir/kernel"
}

# project_overlay KIND KERNEL-NAME: sets REPLY to the layer with the project in it, as root/ and as overlay.cpio.
# Sets KERNEL, RUN_TREE, SOURCE and BUILD on the way.
project_overlay() {
        local kind=$1 name=$2 modules
        project_source
        SOURCE=$REPLY
        kernel "$name"
        KERNEL=$REPLY
        run_tree
        RUN_TREE=$REPLY
        project_build "$kind" "$SOURCE"
        BUILD=$REPLY
        project_modules "$name" "$KERNEL" "$SOURCE"
        modules=$REPLY
        cache_make overlay "$kind-$name-$(hash_text 1 "$BUILD" "$modules" "$KERNEL" "$RUN_TREE")" \
                "the machine's files ($kind, $name)" project_overlay_make "$BUILD" "$modules" "$KERNEL" "$RUN_TREE"
        cache_prune build-tree 2
        cache_prune run-tree 2
        cache_prune foreign-tree 2
        cache_prune kernel 12
        cache_prune source 10
        cache_prune build 10
        cache_prune modules 10
        cache_prune overlay 10
        cache_prune runs 20
}

project_overlay_make() {
        local dir=$1 root=$1/root build=$2 modules=$3 kernel=$4 run_tree=$5 release
        release=$(<"$kernel/release")
        cp -aT "$build/root" "$root"
        cp -aT "$modules/root" "$root"
        if [[ -d $root/usr/lib/modules ]]; then
                image_depmod "$run_tree" "$release" "$root" "$kernel/modules"
        fi
        if compgen -G "$modules/test/*.ko" >/dev/null; then
                mkdir -p "$root/usr/lib/dmaheapd/test-modules"
                cp "$modules"/test/*.ko "$root/usr/lib/dmaheapd/test-modules/"
        fi
        overlay_accounts "$root" "$run_tree"
        make_cpio "$root" "$dir/overlay.cpio"
}

# overlay_accounts ROOT RUN-TREE: adds the users and groups of the project's sysusers.d, and the members of the group
# dmaheap. The group is added even if no such file has it.
overlay_accounts() {
        local root=$1 run_tree=$2
        mkdir -p "$root/etc" "$root/usr/lib/sysusers.d"
        cp -p "$run_tree"/tree/etc/{passwd,group,shadow,gshadow} "$root/etc/"
        in_tree "$run_tree/tree" --bind "$root:/mnt" -- systemd-sysusers --root=/mnt
        in_tree "$run_tree/tree" --bind "$root:/mnt" -- systemd-sysusers --root=/mnt --inline 'g dmaheap -' \
                'm user1 dmaheap' 'm user2 dmaheap'
        rm -f "$root"/etc/{passwd,group,shadow,gshadow}- "$root/etc/.pwd.lock"
}
