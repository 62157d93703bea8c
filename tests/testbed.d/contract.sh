#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# contract.sh TESTBED: tries what is promised of 'TESTBED exec'. Prints a plan, a line for each promise, and their
# number.

set -u

TESTBED=$1
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
cd "$WORK" || exit 1
N=0

# check NAME COMMAND…: prints whether the command succeeds, which is one promise.
check() {
        local name=$1
        shift
        N=$((N + 1))
        if "$@"; then
                echo "ok $name"
        else
                echo "not ok $name"
                echo "    failed: $*"
        fi
}

# one_of_its_kind: runs a machine with everything that most runs use; its status is 7.
one_of_its_kind() {
        mkdir -p folder/sub added/inner
        echo 'from the folder' >folder/sub/file
        echo 'from the file' >file.txt
        echo 'early' >added/inner/word
        # shellcheck disable=SC2016 # for the machine
        printf '[Unit]\nDescription=%s\n[Service]\nType=oneshot\nRemainAfterExit=yes\n%s\n%s\n' \
                'Before anybody can do anything' \
                'ExecStart=/bin/sh -c "cat /usr/lib/early/inner/word >/run/early"' \
                '[Install]
WantedBy=sysinit.target
Also=also.service' >early.service
        printf '[Service]\nType=oneshot\nExecStart=/bin/touch /run/also\n[Install]\nWantedBy=basic.target\n' \
                >also.service
        cat >script <<'END'
head -c 5000000 /dev/zero | tr '\0' '\377'
printf 'zero\0binary\r\n\n' >/dev/stderr
cat file.txt folder/sub/file >&2
[ "$(id -u)" = 0 ] && [ "$(systemctl is-active multi-user.target)" = active ] && echo root >&2
cat /run/early >&2
[ -e /run/also ] && echo also >&2
grep -o 'dmaheapd.answer=.*' /proc/cmdline >&2
grep -cE ' (cma|dma_heap.mem_accounting)=' /proc/cmdline >&2
systemctl is-enabled dmaheapd.socket >&2
systemctl is-active dmaheapd.socket >&2
awk '/MemTotal/ {print ($2 > 1000000 && $2 < 1500000)}' /proc/meminfo >&2
id -nG user1 >&2; id -nG outsider >&2
cd / && python3 -c 'import test_machine, vmtest; print(vmtest.MIB)' >&2
cat >&2 # standard input is empty
(sleep 1000 &)
exit 7
END
        # shellcheck disable=SC2094 # the script is not written
        "$TESTBED" exec --append dmaheapd.answer=42 --append more=1 --memory 1400 --add added:/usr/lib/early \
                --add early.service:/lib/systemd/system/early.service \
                --add also.service:/etc/systemd/system/also.service \
                --enable=early.service script file.txt folder >out 2>err <script
        echo $? >status
}

expected_stderr() {
        printf 'zero\0binary\r\n\nfrom the file\nfrom the folder\nroot\nearly\nalso\ndmaheapd.answer=42 more=1\n0\n'
        printf '%s\n' disabled inactive 1 'user1 dmaheap' outsider 1048576
}

# Each function from here on runs in a folder of its own, at the same time as another one.
out_of_time() {
        printf '#!/bin/sh\necho so far\nexec sleep 600\n' >slow
        "$TESTBED" exec --timeout 15 slow >out 2>err
        echo $? >status
}

panic() {
        printf 'echo last words; sleep 5; echo c >/proc/sysrq-trigger; sleep 60\n' >fatal
        "$TESTBED" exec --append sysrq_always_enabled=1 fatal >out 2>err
        echo $? >status
}

signal() {
        echo 'kill -9 $$' >script
        "$TESTBED" exec --kernel lts script >out 2>err
        echo $? >status
}

# ended SIGNAL: sends the signal to 'exec' while the script runs. If the machine outlives it, makes the file 'left'.
ended() {
        local exec_pid qemu_pid
        echo 'echo begun; exec sleep 600' >script
        "$TESTBED" exec script >out 2>err &
        exec_pid=$!
        for _ in {1..6000}; do
                ! grep -q begun out || break
                sleep 0.1
        done
        read -r qemu_pid _ <"/proc/$exec_pid/task/$exec_pid/children"
        kill -s "$1" "$exec_pid"
        wait "$exec_pid"
        echo $? >status
        for _ in {1..100}; do
                [[ -e /proc/$qemu_pid ]] || break
                sleep 0.1
        done
        [[ ! -e /proc/$qemu_pid ]] || echo "$qemu_pid" >left
}

told_to_end() {
        ended TERM
}

killed() {
        ended KILL
}

# nothing_left FOLDER: succeeds if the machine of that folder ran and is gone.
nothing_left() {
        [[ ! -e $1/left ]] && grep -q begun "$1/out"
}

# both FUNCTION FUNCTION: runs the two at once.
both() {
        local function
        for function in "$@"; do
                mkdir "$function"
                (cd "$function" && "$function") &
        done
        wait
}

status_is() {
        [[ $(<"$1/status") == "$2" ]] || {
                echo "    status $(<"$1/status"); $(tail -n 3 "$1/err")"
                return 1
        }
}

refused() {
        "$TESTBED" exec "$@" >out 2>err
        [[ $? -eq 125 && ! -s out && -s err ]]
}

echo 1..21
echo exit 0 >script
check 'an unknown kernel is refused' refused --kernel nonesuch script
check 'an unknown build is refused' refused --build nonesuch script
check 'an unknown option is refused' refused --nonesuch 1 script
check 'an option without its value is refused' refused --memory
check 'a unit that is not there cannot be enabled' refused --enable nonesuch.service script
check 'a file that is not there cannot be added' refused --add nonesuch:/etc/nonesuch script
check 'a script that is not there is refused' refused nonesuch

both one_of_its_kind out_of_time
both panic signal
both told_to_end killed
check "the script's status is passed on" status_is one_of_its_kind 7
check 'standard output is exact' cmp one_of_its_kind/out <(head -c 5000000 /dev/zero | tr '\0' '\377')
check 'standard error is exact, and all it tells is true' cmp one_of_its_kind/err <(expected_stderr)
check 'time that runs out is 125' status_is out_of_time 125
check 'what was printed until then is there' cmp out_of_time/out <(echo so far)
check 'the reason is told' grep -q 'not ended after 15 s' out_of_time/err
check 'a panic is 125' status_is panic 125
check 'what was printed before it is there' cmp panic/out <(echo last words)
check 'the panic is told' grep -q 'Kernel panic' panic/err
check 'death by a signal is 128 and its number' status_is signal 137
check 'exec ends upon SIGTERM' status_is told_to_end 143
check 'and ends its machine' nothing_left told_to_end
check 'a machine ends with an exec that is killed' nothing_left killed
check 'death by SIGKILL is 137' status_is killed 137
echo "ran $N"
