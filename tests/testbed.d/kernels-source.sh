# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# The kernels that are built from Debian's source package, with tinyconfig and the fragments of kernel/. Besides what
# other kernels have, each has its headers in build/, to build modules against. 'upstream' and 'tristate' have the same
# image; 'upstream' has the kernel's own heap modules, 'tristate' has ours. 'in-tree', for a suite that runs by name
# only, has module/ in the kernel's tree.

# The series that is built. Where the archive has dropped it, a newer one is taken.
: "${KERNEL_SOURCE_SERIES:=7.3}"
# The oldest series that the modules are for; 'in-tree' is built from it.
readonly KERNEL_SOURCE_OLDEST=7.2

# The packages that kernels are built with, beside gcc itself.
readonly KERNEL_TOOLS='bc binutils bison dwarves flex libc6-dev libelf-dev libssl-dev make'

# kernel_make NAME: sets REPLY to the kernel NAME, one of those that are built from source.
kernel_make() {
        local name=$1 image run_tree
        case $name in
        upstream | tristate) kernel_image tristate ;;
        debug) kernel_image debug ;;
        in-tree) kernel_in_tree ;;
        *) die "there is no kernel '$name' (there are: stock, lts, upstream, tristate, debug)" ;;
        esac
        image=$REPLY
        run_tree
        run_tree=$REPLY
        cache_make kernel "$name-$(hash_text 1 "$image" "$run_tree" "$(declare -f kernel_pick)")" "the kernel '$name'" \
                kernel_pick "$run_tree" "$image" "$name"
        cache_prune kernel-image 4
}

# kernel_pick DIR RUN-TREE IMAGE NAME: makes the kernel NAME out of a built image.
kernel_pick() {
        local dir=$1 run_tree=$2 image=$3 name=$4 release
        release=$(<"$image/release")
        cp -al "$image"/{vmlinuz,release,build} "$dir/"
        cp -a "$image/modules" "$dir/modules"
        if [[ $name == tristate ]]; then
                rm -r "$dir/modules/usr/lib/modules/$release/kernel/drivers/dma-buf/heaps"
        fi
        depmod_in "$run_tree" "$dir/modules" "$release"
        make_cpio "$dir/modules" "$dir/modules.cpio"
}

# kernel_fragments CONFIG: prints the files of options that make the configuration CONFIG. Kernels with heaps use the
# fragment that we ship, module/dmabuf-heaps.config.
kernel_fragments() {
        echo "$TESTBED_DIR/kernel/base.config"
        # shellcheck disable=SC2153 # the project's, set in project.sh
        [[ $1 != tristate ]] || echo "$SOURCE/module/dmabuf-heaps.config"
        echo "$TESTBED_DIR/kernel/$1.config"
}

# kernel_tools BUILD-TREE: prints the versions of the packages of the build tree that kernels are built with.
kernel_tools() {
        awk -v wanted="$KERNEL_TOOLS" '
                BEGIN {n = split(wanted, names); for (i = 1; i <= n; i++) wants[names[i]] = 1}
                $1 == "Package:" {name = $2}
                $1 == "Version:" && (name in wants || name ~ /^gcc-[0-9]+$/) {print name, $2}
        ' "$1/var/lib/dpkg/status"
}

# kernel_image CONFIG: sets REPLY to a kernel built with its fragments. Its key has the source and the tools only, so
# that another package in the build tree costs no kernel.
kernel_image() {
        local config=$1 build_tree fragments
        mapfile -t fragments < <(kernel_fragments "$config")
        build_tree
        build_tree=$REPLY
        kernel_source "$build_tree"
        cache_make kernel-image "$config-$(hash_text 2 "$(kernel_tools "$build_tree")" "$(<"$REPLY/version")" \
                "$(declare -f kernel_image_make kernel_configure kernel_harvest)" \
                "$(cat "${fragments[@]}")")" "the kernel image '$config' (10 to 25 minutes)" \
                kernel_image_make "$build_tree" "$REPLY" "${fragments[@]}"
}

# kernel_source BUILD-TREE: sets REPLY to a folder with the source package, as the build tree's list of packages has it.
# So the archive is asked once for each build tree.
kernel_source() {
        cache_make kernel-source "$(hash_text 1 "$1" "$KERNEL_SOURCE_SERIES" "$(declare -f kernel_source_make)")" \
                "the kernel's source" kernel_source_make "$1"
        if [[ $(<"$REPLY/series") != "$KERNEL_SOURCE_SERIES" ]]; then
                progress "the archive has no linux-source-$KERNEL_SOURCE_SERIES any more: using $(<"$REPLY/series")"
        fi
}

kernel_source_make() {
        local dir=$1 build_tree=$2 series
        series=$(in_tree "$build_tree" -- apt-cache search --names-only '^linux-source-[0-9.]*$' | cut -d ' ' -f 1 |
                sed 's/^linux-source-//' | sort -V |
                awk -v wanted="$KERNEL_SOURCE_SERIES" \
                        '$0 == wanted {found = 1} {last = $0} END {print found ? wanted : last}')
        # shellcheck disable=SC2016 # expanded by the inner shell
        in_tree "$build_tree" --bind "$dir:/work" -- sh -euc '
                cd /work
                apt-get -o APT::Sandbox::User=root download "linux-source-$1"
        ' sh "$series"
        dpkg-deb --fsys-tarfile "$dir"/*.deb | tar -x -C "$dir" --strip-components=3 --wildcards './usr/src/*.tar.xz'
        dpkg-deb --field "$dir"/*.deb Version >"$dir/version"
        rm "$dir"/*.deb
        mv "$dir"/linux-source-*.tar.xz "$dir/source.tar.xz"
        echo "$series" >"$dir/series"
}

kernel_image_make() {
        local dir=$1 build_tree=$2 source=$3
        shift 3
        mkdir -p "$dir/source" "$dir/objects"
        tar -x -f "$source/source.tar.xz" -C "$dir/source" --strip-components=1
        cat "$@" >"$dir/objects/fragment"
        in_build_tree "$build_tree" "$source" "$dir" bash -euxc "
                $(declare -f kernel_configure kernel_harvest)
                export KBUILD_BUILD_TIMESTAMP='1 January 2026' KBUILD_BUILD_USER=testbed KBUILD_BUILD_HOST=testbed
                cd /work/objects
                kernel_configure /work/source
                make -s -j \"\$(nproc)\" bzImage modules
                kernel_harvest /work
        "
        rm -rf "$dir/source" "$dir/objects"
}

# kernel_in_tree: sets REPLY to a kernel with module/ in its tree, some of it built in and some as modules.
kernel_in_tree() {
        local -x KERNEL_SOURCE_SERIES=$KERNEL_SOURCE_OLDEST
        local build_tree fragments=("$TESTBED_DIR/kernel"/{base,in-tree}.config)
        build_tree
        build_tree=$REPLY
        kernel_source "$build_tree"
        cache_make kernel-image "in-tree-$(hash_text 1 "$build_tree" "$REPLY" "$(hash_folder "$SOURCE/module")" \
                "$(declare -f kernel_in_tree_make kernel_drop_in kernel_configure kernel_harvest)" \
                "$(cat "${fragments[@]}")")" "the kernel image 'in-tree' (10 to 25 minutes)" \
                kernel_in_tree_make "$build_tree" "$REPLY" "$SOURCE/module" "${fragments[@]}"
}

kernel_in_tree_make() {
        local dir=$1 build_tree=$2 source=$3 module=$4
        shift 4
        mkdir -p "$dir/source" "$dir/objects"
        tar -x -f "$source/source.tar.xz" -C "$dir/source" --strip-components=1
        kernel_drop_in "$dir/source"
        cp "$module"/* "$dir/source/drivers/dma-buf/dmaheapd/"
        cat "$@" >"$dir/objects/fragment"
        # This first links a kernel with all of it built in, then builds what the fragment says.
        in_build_tree "$build_tree" "$source" "$dir" bash -euxc "
                $(declare -f kernel_configure kernel_harvest)
                export KBUILD_BUILD_TIMESTAMP='1 January 2026' KBUILD_BUILD_USER=testbed KBUILD_BUILD_HOST=testbed
                cd /work/objects
                kernel_configure /work/source
                sed -i 's/^\\(CONFIG_DMAHEAPD_.*\\)=m\$/\\1=y/' .config
                make -s olddefconfig
                test \$(grep -c '^CONFIG_DMAHEAPD_.*=y\$' .config) = 5
                make -s -j \"\$(nproc)\" vmlinux
                kernel_configure /work/source
                make -s -j \"\$(nproc)\" bzImage modules
                kernel_harvest /work
        "
        rm -rf "$dir/source" "$dir/objects"
}

# kernel_drop_in SOURCE: makes a place for module/ in a kernel's tree.
kernel_drop_in() {
        mkdir "$1/drivers/dma-buf/dmaheapd"
        touch "$1/drivers/dma-buf/dmaheapd"/{Kconfig,Kbuild}
        echo 'source "drivers/dma-buf/dmaheapd/Kconfig"' >>"$1/drivers/dma-buf/Kconfig"
        echo 'obj-y += dmaheapd/' >>"$1/drivers/dma-buf/Makefile"
}

# kernel_configure SOURCE: configures the folder of objects it runs in. Fails if an option of the fragments was not
# taken.
kernel_configure() {
        local option value got missing=0
        make -s -C "$1" O="$PWD" tinyconfig
        "$1/scripts/kconfig/merge_config.sh" -m .config fragment >/dev/null
        make -s olddefconfig
        while IFS='=' read -r option value; do
                got=$(sed -n "s/^$option=//p" .config)
                if [ "${got:-n}" != "$value" ]; then
                        echo "$option is ${got:-n} and not $value" >&2
                        missing=1
                fi
        done < <(grep '^CONFIG_' fragment)
        return "$missing"
}

# kernel_harvest DIR: puts image, modules and headers of the folder of objects it runs in into DIR.
kernel_harvest() {
        local release
        release=$(make -s kernelrelease)
        echo "$release" >"$1/release"
        cp arch/x86/boot/bzImage "$1/vmlinuz"
        make -s INSTALL_MOD_PATH="$1/modules/usr" INSTALL_MOD_STRIP=1 DEPMOD=true modules_install
        rm -f "$1/modules/usr/lib/modules/$release"/{build,source}
        make -s run-command KBUILD_RUN_COMMAND="\${srctree}/scripts/package/install-extmod-build $1/build"
}
