# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# The suite 'module-build': module/ compiles without a message, in a kernel tree and outside of one, for each kernel
# that it is for and with both compilers; and checkpatch.pl finds nothing. Only one module is loaded, to see it refused.

# The series of kernels whose headers are used besides those of 'stock': the oldest that the modules are for, and one
# that is too old. A series that the archive has dropped is left out, and the plan is shorter then.
readonly MODULE_BUILD_SERIES='7.2 6.12'

# module_headers BUILD-TREE: sets REPLY to a folder that is used as /usr/src. For each release in its file 'releases' it
# has the headers as Debian ships them (RELEASE), and as if the kernel were configured without heaps but with the dmem
# controller (RELEASE.bare).
module_headers() {
        cache_make module-headers "$(hash_text 1 "$1" "$MODULE_BUILD_SERIES" \
                "$(declare -f module_headers_make module_headers_take module_headers_bare)")" \
                "kernels' headers" module_headers_make "$1"
}

module_headers_make() {
        local dir=$1 tree=$2 package release
        # shellcheck disable=SC2016 # expanded by the inner shell
        in_tree "$tree" --bind "$dir:/work" -- sh -euc '
                cd /work
                for series in '"$MODULE_BUILD_SERIES"'; do
                        release=$(apt-cache search --names-only "^linux-headers-$series\.[0-9.]*[+]deb[0-9]*-amd64$" |
                                cut -d " " -f 1 | sed "s/^linux-headers-//" | sort -V | tail -n 1)
                        [ -n "$release" ] || continue
                        apt-get -o APT::Sandbox::User=root download "linux-headers-$release" \
                                "linux-headers-${release%-amd64}-common" "linux-kbuild-${release%-amd64}"
                        echo "$release" >>releases
                done
        '
        for package in "$dir"/*.deb; do
                dpkg-deb -x "$package" "$dir/all"
                rm "$package"
        done
        basename "$tree"/usr/src/linux-headers-*-amd64 | sed 's/^linux-headers-//' >>"$dir/releases"
        mkdir -p "$dir/all/usr/src" "$dir/all/usr/lib"
        cp -a "$tree"/usr/src/linux-headers-* "$dir/all/usr/src/"
        cp -a "$tree"/usr/lib/linux-kbuild-* "$dir/all/usr/lib/"
        while read -r release; do
                module_headers_take "$dir" "$release"
                module_headers_bare "$dir" "$release"
        done <"$dir/releases"
        rm -rf "$dir/all"
}

# module_headers_take DIR RELEASE: puts one kernel's headers, which are in several packages, into one folder.
module_headers_take() {
        local dir=$1 release=$2 link
        mv "$dir/all/usr/lib/linux-kbuild-${release%-amd64}" \
                "$dir/all/usr/src/linux-headers-${release%-amd64}-common" "$dir/"
        mv "$dir/all/usr/src/linux-headers-$release" "$dir/$release"
        for link in "$dir/$release"/{scripts,tools} "$dir/linux-headers-${release%-amd64}-common"/{scripts,tools}; do
                [[ ! -L $link ]] || ln -sfn "../linux-kbuild-${release%-amd64}/${link##*/}" "$link"
        done
        sed -i "s|^KBUILD_OUTPUT=.*|KBUILD_OUTPUT=/usr/src/$release|" "$dir/$release/Makefile"
}

# module_headers_bare DIR RELEASE: copies them, without heaps and with the dmem controller in everything that Kbuild
# looks at: the configuration, for make and for C, and the kernel's symbols.
module_headers_bare() {
        local bare=$1/$2.bare symbol
        cp -a "$1/$2" "$bare"
        sed -i "s|^KBUILD_OUTPUT=.*|&.bare|" "$bare/Makefile"
        sed -i -E '/CONFIG_(DMABUF_HEAPS|CGROUP_DMEM)/d' \
                "$bare/include/config/auto.conf" "$bare/include/generated/autoconf.h" "$bare/.config"
        echo 'CONFIG_CGROUP_DMEM=y' | tee -a "$bare/.config" >>"$bare/include/config/auto.conf"
        echo '#define CONFIG_CGROUP_DMEM 1' >>"$bare/include/generated/autoconf.h"
        sed -i '/\tDMA_BUF_HEAP$/d' "$bare/Module.symvers"
        for symbol in register_region unregister_region try_charge uncharge; do
                printf '0x00000000\tdmem_cgroup_%s\tvmlinux\tEXPORT_SYMBOL_GPL\t\n' "$symbol" >>"$bare/Module.symvers"
        done
}

# module_tree BUILD-TREE: sets REPLY to a folder with as much of a kernel's source as one folder needs to compile, in
# source/, with a place for module/. It is prepared for gcc in gcc/ and for clang in clang/.
module_tree() {
        local build_tree=$1
        kernel_source "$build_tree"
        cache_make module-tree "$(hash_text 1 "$build_tree" "$REPLY" "$(cat "$TESTBED_DIR/kernel/base.config")" \
                "$(declare -f module_tree_make kernel_drop_in)")" "a kernel tree (5 minutes)" \
                module_tree_make "$build_tree" "$REPLY"
}

module_tree_make() {
        local dir=$1 build_tree=$2 origin=$3 top part wanted=()
        top=linux-source-$(<"$origin/series")
        for part in Makefile Kbuild Kconfig include scripts arch/x86 arch/arm64/{Makefile,configs} \
                kernel lib init mm usr certs security/Makefile drivers/Makefile drivers/dma-buf \
                tools/{Makefile,docs,objtool,scripts,build,lib,include,arch/x86} tools/bpf/resolve_btfids; do
                wanted+=("$top/$part")
        done
        mkdir "$dir/source"
        tar -x -f "$origin/source.tar.xz" -C "$dir/source" --strip-components=1 --wildcards \
                "${wanted[@]}" "$top/*/Kconfig*"
        kernel_drop_in "$dir/source"
        # Options that take long to build and do not change how a folder compiles are left out.
        grep -vE 'BTF|DEBUG_INFO|CMDLINE_BOOL' "$TESTBED_DIR/kernel/base.config" >"$dir/fragment"
        echo 'CONFIG_DMABUF_HEAPS=n' >>"$dir/fragment"
        # shellcheck disable=SC2016 # expanded by the inner shell
        in_build_tree "$build_tree" "$origin" "$dir" bash -euxc '
                for cc in gcc clang; do
                        mkdir "/work/$cc"
                        cd "/work/$cc"
                        make -s -C ../source O="$PWD" CC="$cc" tinyconfig
                        ../source/scripts/kconfig/merge_config.sh -m .config ../fragment
                        make -s CC="$cc" olddefconfig
                        make -s -j "$(nproc)" CC="$cc" W=1 drivers/dma-buf/dmaheapd/
                done
        '
}

# The checks. One that prints anything has failed, and what it prints says why.

# out_of_tree HEADERS MODULE…: builds exactly these modules, and dkms.conf names the same.
out_of_tree() {
        local headers=$1 found
        shift
        in_module_tree make -s -C /src/module KDIR="/usr/src/$headers" BUILD="/work/$headers" W=1
        found=$(sed 's|.*/||; s|\.o$||' "$WORK/module-build/$headers/modules.order" | sort | xargs)
        [[ $found == "$*" ]] || echo "built: $found; expected: $*"
        # shellcheck disable=SC2016 # expanded by the inner shell
        found=$(in_module_tree env kernel_source_dir="/usr/src/$headers" bash -euc \
                '. /src/module/dkms.conf; printf "%s\n" "${BUILT_MODULE_NAME[@]}"' | sort | xargs)
        [[ $found == "$*" ]] || echo "dkms.conf: $found; expected: $*"
}

# too_old HEADERS: prints one sentence for a kernel that is too old, and compiles nothing.
too_old() {
        local said
        # An old Kbuild writes into the modules' folder when it tries the compiler.
        cp -r "$SOURCE/module" "$WORK/module-build/module"
        said=$(in_module_tree make -s -C /work/module KDIR="/usr/src/$1" 2>&1 || true)
        rm -r "$WORK/module-build/module"
        if [[ $(grep -vc '^make' <<<"$said") -ne 1 ]] ||
                ! grep -q 'need Linux 7.2 or later, and this is' <<<"$said"; then
                echo "$said"
        fi
}

# core_refused HEADERS: refuses CONFIG_DMAHEAPD_CORE=m where the kernel has a core.
core_refused() {
        local said
        if said=$(in_module_tree make -s -C /src/module KDIR="/usr/src/$1" BUILD="/work/$1.core" \
                CONFIG_DMAHEAPD_CORE=m 2>&1) ||
                ! grep -q 'this kernel has a core of the dma-buf heaps; it needs no other' <<<"$said"; then
                echo "$said"
        fi
}

# built_by_dkms HEADERS: dkms builds the modules that dkms.conf names, which are those that out_of_tree has built.
built_by_dkms() {
        local found expected
        # shellcheck disable=SC2016 # expanded by the inner shell
        in_module_tree bash -euc '
                version=$(kernel_source_dir=; . /src/module/dkms.conf; echo "$PACKAGE_VERSION")
                mkdir -p /work/dkms/{source,tree}
                cp -r /src/module "/work/dkms/source/dmaheapd-$version"
                dkms build --sourcetree /work/dkms/source --dkmstree /work/dkms/tree --kernelsourcedir "/usr/src/$1" \
                        -m dmaheapd -v "$version" -k "$1" >/work/dkms/log 2>&1 || {
                        cat /work/dkms/{log,tree/*/*/build/make.log}
                        exit 1
                }
        ' built_by_dkms "$1"
        found=$(find "$WORK/module-build/dkms/tree/dmaheapd" -path '*/module/*' -name '*.ko*' -printf '%f\n' |
                sed 's/\.ko.*//' | sort | xargs)
        expected=$(sed 's|.*/||; s|\.o$||' "$WORK/module-build/$1/modules.order" | sort | xargs)
        if [[ -z $found || $found != "$expected" ]]; then
                echo "dkms built: $found; expected: $expected"
                cat "$WORK/module-build/dkms/log"
        fi
}

# fragment_holds ARCH: merges dmabuf-heaps.config into that architecture's default configuration; each of its lines
# holds.
fragment_holds() {
        # shellcheck disable=SC2016 # expanded by the inner shell
        in_module_tree bash -euc '
                mkdir "/work/$1"
                cd "/work/$1"
                make -s -C /work/source O="$PWD" ARCH="$1" defconfig
                /work/source/scripts/kconfig/merge_config.sh -m .config /src/module/dmabuf-heaps.config >/dev/null
                make -s -C /work/source O="$PWD" ARCH="$1" olddefconfig
                while IFS="=" read -r option value; do
                        got=$(sed -n "s/^$option=//p" .config)
                        [ "${got:-n}" = "$value" ] || echo "$option is ${got:-n} and not $value"
                done < <(grep "^CONFIG_" /src/module/dmabuf-heaps.config)
        ' fragment_holds "$1"
}

# core_not_loaded RELEASE: a running kernel that has a core refuses ours, though it was built as if there were none.
core_not_loaded() {
        "$PROJECT_DIR/tests/testbed" exec --kernel stock "$PROJECT_DIR/tests/vm/second-core.sh" \
                "$WORK/module-build/$1.bare/dma_heap.ko"
}

# in_tree_as CC n|m|y: builds module/ in a kernel tree, with all of its options set to that.
in_tree_as() {
        # shellcheck disable=SC2016 # expanded by the inner shell
        in_module_tree bash -euc '
                cc=$1 as=$2 here=drivers/dma-buf/dmaheapd
                cp /src/module/* "/work/source/$here/"
                cd "/work/$cc"
                rm -f "$here"/*.o
                for option in CORE SYSTEM_HEAP CMA_HEAP CMA_REGION; do
                        ../source/scripts/config --set-val "DMAHEAPD_$option" "$as"
                done
                make -s CC="$cc" olddefconfig
                if [ "$as" = n ]; then
                        ! grep "^CONFIG_DMAHEAPD_" .config || exit 1
                else
                        [ "$(grep -c "^CONFIG_DMAHEAPD_.*=$as$" .config)" = 5 ] || { grep DMAHEAPD .config; exit 1; }
                fi
                make -s -j "$(nproc)" CC="$cc" W=1 "$here/"
                found=$(cd "$here" && ls ./*.o 2>/dev/null | wc -l)
                [ "$found" = "$([ "$as" = n ] && echo 0 || echo 5)" ] || { echo "objects: $found"; ls "$here"; }
        ' in_tree_as "$@"
}

# checkpatch: checks the modules and those for tests. Perl is the host's; mmdebstrap needs it, too.
checkpatch() {
        perl "$WORK/module-build/source/scripts/checkpatch.pl" --strict --no-tree --terse --no-summary --file \
                "$PROJECT_DIR"/module/{*.[ch],Kbuild,Kconfig,Makefile} \
                "$PROJECT_DIR"/tests/modules/{*.[ch],Kbuild,Makefile}
}

# in_module_tree COMMAND…: runs COMMAND in the build tree, with the headers as /usr/src, the project as /src and the
# kernel tree in /work.
in_module_tree() {
        in_tree "$MODULE_BUILD_TREE" --bind "$MODULE_HEADERS:/usr/src:ro" --bind "$SOURCE:/src:ro" \
                --bind "$WORK/module-build:/work" -- "$@"
}

# module_check NAME COMMAND…: prints whether the command succeeds and is silent, which is one check.
module_check() {
        local name=$1 said status=0
        shift
        said=$("$@" 2>&1) || status=$?
        if [[ $status -eq 0 && -z $said ]]; then
                echo "ok $name"
        else
                echo "not ok $name"
                printf '%s\n' "status $status" "$said" | head -n 40 | sed 's/^/    /'
        fi
}

# module_checks: prints the plan, then each of the checks.
module_checks() {
        local release n=0
        local heaps='cma_heap cma_region heap_buffer' every='cma_heap cma_region dma_heap heap_buffer system_heap'
        n=$((8 + $(grep -vc '^6\.' "$MODULE_HEADERS/releases") * 2 + $(grep -c '^6\.' "$MODULE_HEADERS/releases")))
        echo "1..$n"
        while read -r release <&3; do
                if [[ $release == 6.* ]]; then
                        module_check "one sentence for $release" too_old "$release"
                else
                        # shellcheck disable=SC2086 # words
                        module_check "gcc, $release" out_of_tree "$release" $heaps
                        # shellcheck disable=SC2086
                        module_check "gcc, $release without heaps" out_of_tree "$release.bare" $every
                fi
        done 3<"$MODULE_HEADERS/releases"
        release=$(grep -v '^6\.' "$MODULE_HEADERS/releases" | tail -n 1)
        module_check "no second core, $release" core_refused "$release"
        module_check "no second core in a running kernel, $release" core_not_loaded "$release"
        module_check "dkms, $release" built_by_dkms "$release"
        module_check 'in a kernel tree, gcc, n' in_tree_as gcc n
        module_check 'in a kernel tree, gcc, y' in_tree_as gcc y
        module_check 'in a kernel tree, clang, m' in_tree_as clang m
        module_check 'dmabuf-heaps.config on top of arm64' fragment_holds arm64
        module_check 'checkpatch.pl --strict' checkpatch
        echo "ran $n"
}

# module_build SOURCE WORK: the suite, for that copy of the project and in that empty folder.
module_build() {
        local tree
        SOURCE=$1 WORK=$2
        build_tree
        MODULE_BUILD_TREE=$REPLY
        module_headers "$MODULE_BUILD_TREE"
        MODULE_HEADERS=$REPLY
        module_tree "$MODULE_BUILD_TREE"
        tree=$REPLY
        mkdir "$WORK/module-build"
        cp -al "$tree/source" "$WORK/module-build/" 2>/dev/null || cp -a "$tree/source" "$WORK/module-build/"
        rm -rf "$WORK/module-build/source/drivers/dma-buf/dmaheapd"/*
        cp -a "$tree"/{gcc,clang} "$WORK/module-build/"
        # A check that fails has a line 'not ok'; the next one runs all the same.
        module_checks || true
}
