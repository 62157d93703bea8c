# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# The kernels. Those that are built from source are made in kernels-source.sh. An entry has vmlinuz, its version in the
# file 'release', and its modules twice: under modules/, and packed as modules.cpio.

# Of Debian's modules, only these and those that they need get into the machine: what a service in a virtual machine may
# want, the drivers of QEMU's devices, and modules that import dma-bufs.
readonly KERNEL_MODULES='
vgem vivid vimc vkms udmabuf drm_shmem_helper virtio-gpu
virtio_blk virtio_net virtio_balloon virtio-rng virtio_console virtio_pci virtio_input 9p 9pnet_virtio virtiofs vsock
vmw_vsock_virtio_transport
loop zram brd null_blk dm-mod dm-crypt
overlay configfs fuse autofs4 ext4 squashfs erofs vfat nls_ascii nls_cp437
dummy veth tun nf_tables
binfmt_misc efi_pstore pstore_blk qemu_fw_cfg evdev button rng-core i6300esb
crc32c_generic sha256_generic'

# kernel NAME: sets REPLY to that kernel.
kernel() {
        local name=$1 build_tree
        build_tree
        build_tree=$REPLY
        run_tree
        case $name in
        stock | lts)
                cache_make kernel "$name-$(hash_text 1 "$build_tree" "$KERNEL_MODULES" \
                        "$(declare -f kernel_unpack kernel_pick_modules)")" "the kernel '$name'" \
                        kernel_unpack "$build_tree" "$REPLY" "$name"
                ;;
        *)
                kernel_make "$name"
                ;;
        esac
}

# kernel_unpack DIR BUILD-TREE RUN-TREE NAME: unpacks one of Debian's kernels, without installing its packages.
kernel_unpack() {
        local dir=$1 build_tree=$2 run_tree=$3 name=$4 package release all=$1/all
        mkdir "$all"
        for package in "$build_tree/kernels/$name"/*.deb; do
                dpkg-deb --fsys-tarfile "$package" |
                        tar -x -C "$all" --exclude=./usr/share --exclude='./boot/System.map*'
        done
        # Debian 13's own kernel has its modules in /lib.
        if [[ -d $all/lib ]]; then
                mkdir -p "$all/usr"
                mv "$all/lib" "$all/usr/lib"
        fi
        release=$(ls "$all/usr/lib/modules")
        echo "$release" >"$dir/release"
        find "$all" -name "vmlinuz*" -type f -exec cp {} "$dir/vmlinuz" \;
        test -s "$dir/vmlinuz"
        kernel_pick_modules "$run_tree" "$all" "$release" "$dir/modules"
        make_cpio "$dir/modules" "$dir/modules.cpio"
        rm -rf "$all"
}

# kernel_pick_modules RUN-TREE FROM RELEASE TO: copies KERNEL_MODULES, the modules they need, and the lists of built-in
# ones.
kernel_pick_modules() {
        local from=$2/usr/lib/modules/$3 to=$4/usr/lib/modules/$3
        depmod_in "$1" "$2" "$3"
        mkdir -p "$to"
        tr -s ' \n' '\n' <<<"$KERNEL_MODULES" | awk -v deps="$from/modules.dep" '
                function name_of(path) {
                        sub(/.*\//, "", path)
                        sub(/\.ko.*/, "", path)
                        gsub(/-/, "_", path)
                        return path
                }
                BEGIN {
                        while ((getline line < deps) > 0) {
                                n = split(line, words, /:? +|:$/)
                                list[name_of(words[1])] = line
                        }
                }
                {
                        gsub(/-/, "_")
                        if ($0 in list) {
                                n = split(list[$0], words, /:? +|:$/)
                                for (i = 1; i <= n; i++)
                                        if (words[i] != "")
                                                print words[i]
                        }
                }' | sort -u >"$to/picked"
        (cd "$from" && xargs -a "$to/picked" cp -p --parents -t "$to")
        rm "$to/picked"
        # The machine would take longer to unpack them than to boot.
        find "$to" -name '*.ko.xz' -exec xz --decompress {} +
        cp -p "$from"/modules.{order,builtin,builtin.modinfo} "$to/"
        depmod_in "$1" "$4" "$3"
}

# kernel_own_modules NAME: prints a pattern of our modules that are installed for that kernel; nothing if none are. Of
# all that match, module/ builds only those that fit the kernel.
kernel_own_modules() {
        case $1 in
        stock | tristate | debug) echo '*' ;;
        upstream) echo 'cma_region' ;;
        lts | in-tree) ;;
        esac
}

# kernel_build_folder KERNEL: prints the folder in the build tree that modules for that kernel are built against.
# Headers of Debian's kernels are installed there; those of other kernels are put into /work by project_modules_make.
kernel_build_folder() {
        if [[ -d $1/build ]]; then
                echo /work/kernel
        else
                echo "/lib/modules/$(<"$1/release")/build"
        fi
}

# depmod_in RUN-TREE ROOT RELEASE: makes the lists of modules of ROOT/usr/lib/modules with the run tree's kmod, which
# will read them.
depmod_in() {
        in_tree "$1/tree" --bind "$2/usr/lib:/mnt/lib" -- depmod -b /mnt "$3"
}
