# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# One virtual machine: its folder, its start, and waiting for what its script says.

# The machine has to reach multi-user.target in this time, the debug kernel in four times that.
readonly BOOT_TIMEOUT=300

QEMU_PID=
TAILS=()

# machine_folder: sets RUN_DIR to a new folder for one run. It is removed at the end unless KEEP_RUN=yes.
machine_folder() {
        KEEP_RUN=no
        mkdir -p "$CACHE/runs"
        cache_prune runs 20
        RUN_DIR=$(mktemp -d "$CACHE/runs/$(date +%Y%m%d-%H%M%S)-XXXXXX")
        trap machine_end EXIT
        trap 'exit 130' INT
        trap 'exit 143' TERM HUP
}

# machine_end: stops what is running, and cleans up.
machine_end() {
        machine_stop
        if [[ $KEEP_RUN == yes ]]; then
                rm -f "$RUN_DIR/initrd"
        else
                rm -rf "$RUN_DIR"
        fi
}

machine_stop() {
        [[ -n $QEMU_PID ]] || return 0
        kill -KILL "$QEMU_PID" 2>/dev/null || true
        wait "$QEMU_PID" 2>/dev/null || true
        QEMU_PID=
}

# machine_processor: sets PROCESSOR to QEMU's options for it, and CLOCK_OPTIONS to what the kernel has to know of it.
machine_processor() {
        # /dev/kvm alone promises nothing.
        if grep -qwE 'vmx|svm' /proc/cpuinfo && [[ -w /dev/kvm ]]; then
                PROCESSOR=(-accel kvm -cpu host)
                CLOCK_OPTIONS=
        else
                PROCESSOR=(-accel "tcg,thread=multi" -cpu max)
                # On a busy host an emulated timer is late, but neither broken nor unstable, and nothing to measure by.
                host_tsc_khz
                CLOCK_OPTIONS="no_timer_check tsc=reliable${REPLY:+ tsc_early_khz=$REPLY}"
        fi
}

# machine_command KERNEL MEMORY APPEND: sets MACHINE to QEMU's command line, for the initramfs RUN_DIR/initrd.
machine_command() {
        local port usr
        machine_processor
        qemu_tree
        usr=$REPLY/tree/usr
        # A program of another Debian, so with that one's loader, libraries and data.
        MACHINE=("$usr/lib64/ld-linux-x86-64.so.2" --library-path "$usr/lib/x86_64-linux-gnu"
                "$usr/bin/qemu-system-x86_64" -L "$usr/share/qemu" -L "$usr/share/seabios"
                -nodefaults -no-user-config -no-reboot -display none "${PROCESSOR[@]}" -smp 2 -m "$2"
                -kernel "$1/vmlinuz" -initrd "$RUN_DIR/initrd"
                -append "console=ttyS0 panic=-1 quiet systemd.firstboot=off $CLOCK_OPTIONS $3"
                -device virtio-serial-pci)
        for port in stdout stderr status; do
                MACHINE+=(-chardev "file,id=$port,path=$RUN_DIR/$port"
                        -device "virtserialport,chardev=$port,name=testbed.$port")
        done
}

# machine_initrd CPIO…: puts the initramfs together.
machine_initrd() {
        cat "$@" >"$RUN_DIR/initrd"
}

# machine_start: starts MACHINE, and what copies its script's output. Sets QEMU_PID and TAILS.
machine_start() {
        : >"$RUN_DIR/stdout"
        : >"$RUN_DIR/stderr"
        : >"$RUN_DIR/status"
        # The machine dies with this script, however that happens.
        setpriv --pdeathsig KILL "${MACHINE[@]}" -serial "file:$RUN_DIR/console.log" >"$RUN_DIR/qemu.log" 2>&1 </dev/null &
        QEMU_PID=$!
        tail -c +1 -s 0.1 -f --pid=$QEMU_PID "$RUN_DIR/stdout" &
        TAILS=($!)
        tail -c +1 -s 0.1 -f --pid=$QEMU_PID "$RUN_DIR/stderr" >&2 &
        TAILS+=($!)
}

# machine_restart N: after a machine that went down before its script began, for the Nth time. An emulated processor
# loses a race with the kernel's patching of its own code now and then. No second try where a module of ours was loaded: it may be its fault.
machine_restart() {
        machine_stop
        wait "${TAILS[@]}" 2>/dev/null || true
        progress "the machine did not come up, trying again: $(machine_death)"
        cp "$RUN_DIR/console.log" "$RUN_DIR/console.$1.log"
        machine_start
}

# machine_run TIMEOUT: runs MACHINE, copies what its script prints, and sets REPLY to the script's status. Where there is
# none, says why and exits.
machine_run() {
        local timeout=$1 pause lines=() started=$SECONDS last status out=0 err=0 reason='' try=1 boot_timeout=$BOOT_TIMEOUT
        # All those checks, emulated, on a busy host.
        [[ $RUN_KERNEL != debug ]] || boot_timeout=$((4 * BOOT_TIMEOUT))
        KEEP_RUN=yes
        machine_start

        # Reading from a pipe that nobody writes to is a pause without a process.
        exec {pause}<> <(:)
        while :; do
                mapfile -t lines <"$RUN_DIR/status"
                last=${lines[*]: -1}
                case $last in
                exit\ *)
                        read -r _ status out err <<<"$last"
                        [[ -z $err ]] || break
                        ;;
                failed\ *)
                        reason=${last#failed }
                        break
                        ;;
                esac
                if ! kill -0 "$QEMU_PID" 2>/dev/null; then
                        mapfile -t lines <"$RUN_DIR/status"
                        if [[ ${#lines[@]} -eq 0 && $try -lt 3 ]] && ! grep -qa 'Tainted:' "$RUN_DIR/console.log"; then
                                machine_restart $((try++))
                                started=$SECONDS
                                continue
                        fi
                        [[ ${lines[*]: -1} != exit\ *\ *\ * ]] || continue
                        reason=$(machine_death)
                        break
                elif [[ ${#lines[@]} -eq 0 && $((SECONDS - started)) -ge $boot_timeout ]]; then
                        reason="the machine was not up after $boot_timeout s"
                        break
                elif [[ ${#lines[@]} -gt 0 && $((SECONDS - ${script_started:=$SECONDS})) -ge $timeout ]]; then
                        reason="the script has not ended after $timeout s"
                        break
                fi
                read -rt 0.1 -u "$pause" || true
        done
        # The bytes were handed over before the status was, but each port has a queue of its own.
        while [[ -z $reason && $(stat -c %s "$RUN_DIR/stdout") -lt $out || $(stat -c %s "$RUN_DIR/stderr") -lt $err ]]; do
                kill -0 "$QEMU_PID" 2>/dev/null || die "output of the script was lost"
                read -rt 0.05 -u "$pause" || true
        done
        exec {pause}>&-
        machine_stop
        wait "${TAILS[@]}" 2>/dev/null || true
        [[ -z $reason ]] || die "$reason (console: $RUN_DIR/console.log)"
        KEEP_RUN=no
        REPLY=$status
}

# machine_death: prints why QEMU is gone.
machine_death() {
        local line
        line=$(grep -aom 1 'Kernel panic - [[:print:]]*' "$RUN_DIR/console.log") ||
                line=$(grep -m 1 . "$RUN_DIR/qemu.log") ||
                line="nothing is said about why"
        echo "the machine went down before the script ended: $line"
}
