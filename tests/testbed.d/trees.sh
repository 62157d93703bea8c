# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# The Debian trees: one to build in, one that becomes the machine's file system, one with QEMU, and one with programs of
# others for the suite client-foreign.

readonly SUITE=trixie

readonly BUILD_PACKAGES='
bpftool ccache clang clang-format dkms g++ gcc libbpf-dev libc6-dev libcap-dev libclang-rt-19-dev libcmocka-dev
libkmod-dev libseccomp-dev libsystemd-dev libudev-dev make mandoc meson ninja-build pkgconf python3 scdoc shellcheck
systemd systemd-dev kmod strace bc bison flex libelf-dev libssl-dev dwarves xz-utils rsync'

# From backports come the headers of the kernel that the modules are for, and its headers for programs.
readonly BUILD_BACKPORTS='linux-headers-amd64 linux-libc-dev'

readonly RUN_PACKAGES="
base-files base-passwd bash coreutils dash dbus findutils gawk grep hostname iproute2 kmod less libasan8 libbpf1 \
libc-bin
libkmod2 libnss-systemd libpam-modules libpam-runtime libpam-systemd libpython3-stdlib libseccomp2
libsystemd0 libubsan1 libudev1 login login.defs mount netbase passwd procps python3 python3-minimal sed strace systemd
systemd-sysv tar udev util-linux zstd"

# Programs that use cameras, screens and dma-buf heaps, the libraries of the preload library, and a shell with
# completions.
readonly FOREIGN_PACKAGES="
base-files bash coreutils grep gstreamer1.0-libcamera gstreamer1.0-tools libc-bin libcamera-tools libdrm-tests \
libsystemd0
v4l-utils zsh"
readonly FOREIGN_PROGRAMS='
bash cam cat drmdevice gst-launch-1.0 ls modeprint modetest proptest v4l2-compliance v4l2-ctl zsh'

# build_tree: sets REPLY to the build tree, with the packages of the kernels in its kernels/ folder.
build_tree() {
        cache_make build-tree "$(hash_text 1 "$BUILD_PACKAGES" "$BUILD_BACKPORTS" "$(declare -f build_tree_make \
                tree_bootstrap build_tree_kernels)")" "the build tree (Debian $SUITE)" build_tree_make
}

# run_tree: sets REPLY to a folder with the run tree in tree/, and as run.cpio.
run_tree() {
        cache_make run-tree "$(hash_text 1 "$RUN_PACKAGES" "$(declare -f run_tree_make run_tree_configure \
                tree_bootstrap)" "$(cat "$TESTBED_DIR"/guest/*)")" "the run tree (Debian $SUITE)" run_tree_make
}

# qemu_tree: sets REPLY to a tree with QEMU, the same on every host. QEMU 7.2 of Debian 12 has a fault: when it emulates
# two processors, one can run the old version of code that the kernel has just patched, which is an 'Oops: int3'.
qemu_tree() {
        cache_make qemu-tree "$(hash_text 1 "$(declare -f qemu_tree_make tree_bootstrap)")" "QEMU (Debian $SUITE)" \
                qemu_tree_make
}

qemu_tree_make() {
        tree_bootstrap "$1/tree" --variant=extract --include=qemu-system-x86,seabios \
                --dpkgopt='path-exclude=/usr/share/doc/*'
}

# foreign_tree: sets REPLY to a folder that has, in tree/, a file system with FOREIGN_PROGRAMS and all that they need.
foreign_tree() {
        cache_make foreign-tree "$(hash_text 1 "$FOREIGN_PACKAGES" "$FOREIGN_PROGRAMS" "$(declare -f foreign_tree_make \
                foreign_copy tree_bootstrap)")" "programs of others (Debian $SUITE)" foreign_tree_make
}

# foreign_tree_make DIR: installs the packages, which depend on a desktop, and keeps only what foreign_copy copies.
foreign_tree_make() {
        local all=$1.all
        # shellcheck disable=SC2086 # lists of words
        tree_bootstrap "$all" --variant=extract --include="$(echo $FOREIGN_PACKAGES | tr ' ' ,)"
        mkdir "$1/tree"
        # shellcheck disable=SC2086 # lists of words
        in_tree "$all" --bind "$1/tree:/mnt" -- bash -euO failglob -o pipefail -c \
                "$(declare -f foreign_copy); foreign_copy \"\$@\"" foreign_copy $FOREIGN_PROGRAMS
        rm -rf --one-file-system "$all"
}

# foreign_copy PROGRAM…: copies the programs, the plugins of GStreamer that they are run with, and all the libraries
# that these are linked with, to /mnt.
foreign_copy() {
        local files libraries list
        files=("${@/#//usr/bin/}" /usr/lib/*/libsystemd.so.0 /usr/lib/*/gstreamer-1.0/libgst{coreelements,libcamera}.so
                /usr/lib/*/gstreamer1.0/gstreamer-1.0/gst-plugin-scanner /usr/lib/*/zsh/*/zsh/{*,*/*}.so)
        list=$(ldd "${files[@]}" | grep -o '/lib[^ ]*\.so[^ :]*' | sort -u)
        mapfile -t libraries <<<"$list"
        mkdir -p /mnt/usr/{bin,lib,lib64,sbin} /mnt/{dev,etc,proc,run,sys,tmp,var}
        cp -P /bin /lib /lib64 /sbin /mnt
        cp -L --parents "${files[@]}" "${libraries[@]/#//usr}" /mnt
        cp -a --parents /usr/share/zsh/functions /mnt
}

# tree_bootstrap DIR MMDEBSTRAP-OPTION…: makes a tree of SUITE and its backports from the archive that the host uses.
tree_bootstrap() {
        local dir=$1 archive
        shift
        archive=$(host_archive)
        host_apt_conf >"$dir.apt.conf"
        mmdebstrap --mode=root --architectures=amd64 --aptopt="$dir.apt.conf" --aptopt='Acquire::Languages "none"' \
                --aptopt='Acquire::Retries "3"' "$@" "$SUITE" "$dir" \
                "deb $archive $SUITE main" "deb $archive $SUITE-updates main" "deb $archive $SUITE-backports main"
        rm -f "$dir.apt.conf"
}

build_tree_make() {
        local dir=$1 package backports=()
        for package in $BUILD_BACKPORTS; do
                backports+=("$package/$SUITE-backports")
        done
        # shellcheck disable=SC2086 # lists of words
        tree_bootstrap "$dir" --variant=apt --skip=cleanup/apt/lists \
                --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
                --include="$(echo $BUILD_PACKAGES "${backports[@]}" | tr ' ' ,)" \
                --customize-hook="$(declare -f build_tree_kernels); build_tree_kernels \"\$1\""
        mkdir -p "$dir"/{src,build,cache,work}
}

# build_tree_kernels TREE: downloads the kernels' packages, by the same index as the headers, so that they fit together.
build_tree_kernels() (
        set -eu
        export APT_CONFIG=$MMDEBSTRAP_APT_CONFIG
        tree=$1
        stock=$(basename "$(ls -d "$tree"/lib/modules/*)")
        lts=$(apt-cache show linux-image-amd64 | sed -n 's/^Depends:.* linux-image-\(6\.12\.[^ ]*\) .*/\1/p' |
                head -n 1)
        lts=${lts:-$(apt-cache show linux-image-amd64 | sed -n 's/^Depends: linux-image-\(6\.12\.[^ ]*\) .*/\1/p' |
                head -n 1)}
        mkdir -p "$tree/kernels/stock" "$tree/kernels/lts"
        cd "$tree/kernels/stock"
        apt-get -o APT::Sandbox::User=root download "linux-base-$stock" "linux-binary-$stock" "linux-modules-$stock"
        cd "$tree/kernels/lts"
        apt-get -o APT::Sandbox::User=root download "linux-image-$lts"
)

run_tree_make() {
        local tree=$1/tree
        # shellcheck disable=SC2086 # a list of words
        tree_bootstrap "$tree" --variant=extract --include="$(echo $RUN_PACKAGES | tr ' ' ,)"
        run_tree_configure "$tree"
        make_cpio "$tree" "$1/run.cpio"
}

# run_tree_configure TREE: does what the packages' maintainer scripts would have done, as far as it matters here, and
# turns off what a machine that lives for a minute does not need.
run_tree_configure() {
        local dir=$1
        cp "$dir/usr/share/base-passwd/passwd.master" "$dir/etc/passwd"
        cp "$dir/usr/share/base-passwd/group.master" "$dir/etc/group"
        : >"$dir/etc/shadow"
        : >"$dir/etc/gshadow"
        chmod 0640 "$dir"/etc/{shadow,gshadow}
        awk -F : '{print $1 ":*:20000:0:99999:7:::"}' "$dir/etc/passwd" >"$dir/etc/shadow"
        awk -F : '{print $1 ":*::"}' "$dir/etc/group" >"$dir/etc/gshadow"
        # pam-auth-update would write the same.
        echo 'auth [success=1 default=ignore] pam_unix.so nullok
auth requisite pam_deny.so
auth required pam_permit.so' >"$dir/etc/pam.d/common-auth"
        echo 'account [success=1 new_authtok_reqd=done default=ignore] pam_unix.so
account requisite pam_deny.so
account required pam_permit.so' >"$dir/etc/pam.d/common-account"
        echo 'password [success=1 default=ignore] pam_unix.so obscure yescrypt
password requisite pam_deny.so
password required pam_permit.so' >"$dir/etc/pam.d/common-password"
        echo 'session required pam_unix.so' >"$dir/etc/pam.d/common-session-noninteractive"
        echo 'session required pam_unix.so
session optional pam_systemd.so' >"$dir/etc/pam.d/common-session"
        printf 'passwd: files systemd\ngroup: files systemd\nshadow: files systemd\nhosts: files\n' \
                >"$dir/etc/nsswitch.conf"
        printf '127.0.0.1 localhost testbed\n::1 localhost\n' >"$dir/etc/hosts"
        echo testbed >"$dir/etc/hostname"
        ln -sf ../run/systemd/resolve/resolv.conf "$dir/etc/resolv.conf"
        ln -sf gawk "$dir/usr/bin/awk"
        ln -sf /proc/self/mounts "$dir/etc/mtab"
        ln -sf usr/sbin/init "$dir/init"
        echo 0123456789abcdef0123456789abcdef >"$dir/etc/machine-id"
        echo LANG=C.UTF-8 >"$dir/etc/default/locale"
        ln -sf /usr/share/zoneinfo/Etc/UTC "$dir/etc/localtime"

        cp -a "$TESTBED_DIR/guest/." "$dir/usr/lib/testbed"
        chown -R root:root "$dir/usr/lib/testbed"
        in_tree "$dir" -- sh -eu /usr/lib/testbed/configure
        rm -rf "$dir"/usr/share/{doc,man,locale,info,lintian,bug,i18n,bash-completion,zsh,gcc,python3,pixmaps} \
                "$dir"/usr/lib/{python3*/{idlelib,turtledemo,lib2to3,test,ensurepip},gcc,x86_64-linux-gnu/gconv} \
                "$dir"/usr/lib/udev/hwdb.d "$dir"/var/{lib,cache}/apt "$dir"/var/lib/dpkg "$dir"/etc/apt
        # A file that is newer than /usr, whatever happens to that, spares the work of a first boot.
        touch -d '2099-01-01' "$dir/etc/.updated" "$dir/var/.updated"
}
