# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# 'test', 'bench' and 'demo'. A suite is a script in tests/vm (tests/bench) whose '# testbed:' lines say in which
# machines it runs (see tests/vm/lib/vmtest.py); each machine is one job, and is nothing but a call of 'exec'. Beside these there are
# suites of the host: 'unit' (what meson knows as tests), 'shellcheck', 'module-build' (module-build.sh), and 'contract'
# (contract.sh).

# That many machines at once, each of them with two processors of its own to emulate.
MACHINES_AT_ONCE=${TESTBED_MACHINES:-2}

HOST_SUITES='shellcheck unit fuzz module-build contract'

N_PASSED=0
N_FAILED=0

# suite_file NAME: prints the script of a suite.
suite_file() {
        find "$PROJECT_DIR/$SUITES" -maxdepth 1 \( -name "$SUITE_PREFIX${1//-/_}.py" -o -name "$SUITE_PREFIX$1.sh" \)
}

# suite_names: prints the suites there are scripts of, but for those marked as long.
suite_names() {
        local file
        for file in "$PROJECT_DIR/$SUITES/$SUITE_PREFIX"*.{py,sh}; do
                [[ -f $file ]] || continue
                # Not -q, which ends before it has read all, and with it, by way of pipefail, what writes.
                suite_headers "$file" | grep -w long >/dev/null || suite_name "$file"
        done
}

# suite_headers FILE: prints what follows '# testbed:' in the head of FILE, a line each; one empty line if there is none.
suite_headers() {
        local lines
        lines=$(sed -n '1,60s/^# testbed: *//p' "$1")
        printf '%s\n' "$lines"
}

# suite_words LINE: prints the words of a header line, one a line, quotes removed.
suite_words() {
        xargs -n 1 <<<"$1"
}

# suite_jobs FILE: adds to JOBS a line for each machine FILE wants: kernel, build, label, and the options of exec and
# files in the shell's quoting, parted by tabs.
suite_jobs() {
        local file=$1 line word kernels builds options files kernel build label folder headers times job i
        folder=$(dirname "$file")
        # A file may have 'long' on a line of its own.
        headers=$(suite_headers "$file" | grep -vx 'long' || true)
        while IFS= read -r line; do
                kernels=stock builds=release options=() files=() label='' times=1
                while read -r word; do
                        case $word in
                        '' | long) ;;
                        kernel=*) kernels=${word#*=} ;;
                        build=*) builds=${word#*=} ;;
                        append=*)
                                options+=(--append "${word#*=}")
                                label+=", ${word#*=}"
                                ;;
                        times=*) times=${word#*=} ;;
                        memory=* | timeout=*) options+=("--${word%%=*}" "${word#*=}") ;;
                        enable=*)
                                for word in $(tr , ' ' <<<"${word#*=}"); do
                                        options+=(--enable "$word")
                                        label+=", $word"
                                done
                                ;;
                        foreign=*)
                                require_root
                                cache_setup
                                host_prepare
                                foreign_tree
                                options+=(--add "$REPLY/tree:${word#*=}")
                                label+=", programs of others"
                                ;;
                        add=*) options+=(--add "$folder/${word#*=}") ;;
                        files=*)
                                for word in $(tr , ' ' <<<"${word#*=}"); do
                                        files+=("$folder/$word")
                                done
                                ;;
                        *) die "$file: what does '$word' mean?" ;;
                        esac
                done < <(suite_words "$line")
                for kernel in ${kernels//,/ }; do
                        for build in ${builds//,/ }; do
                                job="$kernel"$'\t'"$build"$'\t'"$(suite_name "$file") ($kernel, $build$label)"$'\t'"$(
                                        printf '%q ' "${options[@]}" "$file" "${files[@]}"
                                )"
                                for ((i = 0; i < times; i++)); do
                                        JOBS+=("$job")
                                done
                        done
                done
        done <<<"$headers"
}

# suite_name FILE: prints the name of the suite: tests/vm/test_foo_bar.py is 'foo-bar'.
suite_name() {
        basename "$1" | sed "s/^$SUITE_PREFIX//; s/\.[a-z]*$//; s/_/-/g"
}

# suites_choose NAME…: sets SUITES_CHOSEN to the scripts and HOST_CHOSEN to the host's suites of these names; without
# names, to all that are not long.
suites_choose() {
        local name file
        SUITES_CHOSEN=()
        HOST_CHOSEN=()
        if [[ $# -eq 0 ]]; then
                # shellcheck disable=SC2046,SC2086 # words
                set -- $HOST_SUITES $(suite_names)
        fi
        for name in "$@"; do
                if grep -qw -- "$name" <<<"$HOST_SUITES"; then
                        HOST_CHOSEN+=("$name")
                else
                        file=$(suite_file "$name")
                        [[ -n $file ]] || die "there is no suite '$name'"
                        SUITES_CHOSEN+=("$file")
                fi
        done
}

# count PASSED FAILED: adds to the totals.
count() {
        N_PASSED=$((N_PASSED + $1))
        N_FAILED=$((N_FAILED + $2))
}

# jobs_prepare: makes what the machines of JOBS need, one after the other, where progress can be seen.
jobs_prepare() {
        local job kernel build
        while read -r kernel build; do
                run_setup "$kernel" "$build"
        done < <(for job in "${JOBS[@]}"; do cut -f 1,2 <<<"$job"; done | sort -u)
        # From now on the project is what it was at this moment, whatever somebody edits meanwhile.
        export TESTBED_SOURCE=$SOURCE
}

# emulator_failed ERR: whether a machine, whose standard error is in the file ERR, ended by no fault of what runs in it: the
# emulator got its processor wrong (an int3 that had just been patched away), or the host did not let it run for half a
# minute and it never came up. One that did come up and stood still may have one of our modules to thank for it.
emulator_failed() {
        local console
        console=$(sed -n 's/.*(console: \(.*\))$/\1/p' "$1" | tail -n 1)
        grep -aqs 'Oops: int3' "$console" ||
                { grep -q 'the machine was not up after' "$1" &&
                        grep -aqsE 'watchdog: BUG: soft lockup|rcu_preempt kthread starved' "$console"; }
}

# job_exec BASE OPTION…: runs one machine, its output in BASE.out and BASE.err. One that the emulator has failed is run
# again, once.
job_exec() {
        local base=$1 try status
        shift
        for try in 1 2; do
                status=0
                "$PROJECT_DIR/tests/testbed" exec "$@" >"$base.out" 2>"$base.err" &
                # shellcheck disable=SC2064 # this one
                trap "kill $! 2>/dev/null; exit 143" TERM
                wait $! || status=$?
                [[ $status -eq $EXIT_TESTBED && $try -eq 1 ]] || break
                emulator_failed "$base.err" || break
                progress "the emulator failed, running again: $*"
        done
        return "$status"
}

# jobs_run REPORT: runs JOBS, some at once, in the folder WORK; when one has ended, calls 'REPORT LABEL STATUS SECONDS
# STDOUT STDERR'.
jobs_run() {
        local report=$1 job kernel build label arguments n=0 pid status
        local -A labels=() numbers=() begun=()
        for job in "${JOBS[@]}" ''; do
                while [[ ${#labels[@]} -ge $MACHINES_AT_ONCE || ( -z $job && ${#labels[@]} -gt 0 ) ]]; do
                        status=0
                        wait -n -p pid "${!labels[@]}" || status=$?
                        "$report" "${labels[$pid]}" "$status" $((SECONDS - begun[$pid])) \
                                "$WORK/${numbers[$pid]}.out" "$WORK/${numbers[$pid]}.err"
                        unset "labels[$pid]"
                done
                [[ -n $job ]] || break
                IFS=$'\t' read -r kernel build label arguments <<<"$job"
                n=$((n + 1))
                eval "set -- $arguments"
                job_exec "$WORK/$n" --kernel "$kernel" --build "$build" "$@" </dev/null &
                labels[$!]=$label
                numbers[$!]=$n
                begun[$!]=$SECONDS
        done
}

# work_folder: sets WORK to a folder that goes when this script does, with all that runs in it.
work_folder() {
        WORK=$(mktemp -d /tmp/testbed-XXXXXX)
        trap 'jobs -p | xargs -r kill 2>/dev/null || true; wait; rm -rf "$WORK"' EXIT
        trap 'exit 130' INT
        trap 'echo "testbed: told to end by a signal" >&2; exit 143' TERM HUP
}

# report_suite LABEL STATUS SECONDS STDOUT STDERR: counts and tells what a suite's machine has said: a plan '1..N', 'ok'
# and 'not ok' lines, and 'ran N' at the end. Anything that does not add up is a failure.
report_suite() {
        local label=$1 status=$2 seconds=$3 out=$4 err=$5 passed failed planned
        passed=$(grep -ac '^ok ' "$out" || true)
        failed=$(grep -ac '^not ok ' "$out" || true)
        planned=$(sed -n 's/^1\.\.//p' "$out" | head -n 1)
        if [[ $status -ne 0 && $failed -eq 0 || $((passed + failed)) -ne ${planned:-0} || ${planned:-0} -eq 0 ]] ||
                ! grep -qax "ran $planned" "$out"; then
                failed=$((failed + 1))
        fi
        count "$passed" "$failed"
        echo "$label: $passed passed, $failed failed ($seconds s)"
        if [[ $failed -gt 0 ]]; then
                grep -a '^not ok ' "$out" | sed 's/^/    /' || true
                echo "    status $status; the end of its output:"
                tail -n 15 "$out" | sed 's/^/    | /'
                tail -n 150 "$err" | sed 's/^/    ! /'
        fi
}

# report_host LABEL PASSED FAILED OUTPUT: the same for a suite of the host.
report_host() {
        count "$2" "$3"
        echo "$1: $2 passed, $3 failed"
        [[ $3 -eq 0 ]] || tail -n 120 "$4" | sed 's/^/    | /'
}

# host_shellcheck: this testbed's own scripts, one test.
host_shellcheck() {
        local out=$WORK/shellcheck failed=0
        build_tree
        in_build_tree "$REPLY" "$PROJECT_DIR" "$WORK" bash -c \
                'cd /src && shellcheck -x tests/testbed tests/testbed.d/*.sh tests/testbed.d/guest/configure tests/vm/*.sh .ci/run' \
                >"$out" 2>&1 || failed=1
        report_host shellcheck $((1 - failed)) $failed "$out"
}

# host_unit: meson's tests, in each kind of build that differs for them.
host_unit() {
        local kind tree out passed failed
        build_tree
        tree=$REPLY
        for kind in release sanitize; do
                project_build "$kind" "$SOURCE"
                [[ -d $REPLY/build ]] || continue
                out=$WORK/unit-$kind
                (
                        flock 9
                        in_build_tree "$tree" "$SOURCE" "$REPLY" env CCACHE_DIR=/cache \
                                meson test -C /work/build --timeout-multiplier 6 --print-errorlogs
                ) >"$out" 2>&1 9>"$CACHE/locks/unit-$kind" || true
                passed=$(meson_count "$out" 'Ok')
                # What is skipped has not been tested.
                failed=$(($(meson_count "$out" Fail) + $(meson_count "$out" Timeout) + $(meson_count "$out" Skipped) +
                        $(meson_count "$out" 'Unexpected Pass')))
                [[ $((passed + failed)) -gt 0 ]] || failed=1
                report_host "unit ($kind)" "$passed" "$failed" "$out"
        done
}

# host_fuzz: the fuzzers, a test each. A crash, a leak or a hang is a failure, and its input is told.
host_fuzz() {
        local out=$WORK/fuzz tree passed
        build_tree
        tree=$REPLY
        project_fuzzers "$SOURCE"
        (
                flock 9
                in_build_tree "$tree" "$SOURCE" "$REPLY" \
                        meson test -C /work/build --no-rebuild --suite fuzz --num-processes "$N_FUZZERS" --print-errorlogs
        ) >"$out" 2>&1 9>"$CACHE/locks/fuzz" || true
        passed=$(meson_count "$out" 'Ok')
        report_host fuzz "$passed" $((N_FUZZERS - passed)) "$out"
}

# meson_count FILE WORD: prints the number behind WORD in meson's summary.
meson_count() {
        local n
        n=$(sed -n "s/^$2: *\([0-9][0-9]*\) *\$/\1/p" "$1" | tail -n 1)
        echo "${n:-0}"
}

# host_contract: what testbed.md promises of 'exec'.
host_contract() {
        local out=$WORK/contract started=$SECONDS
        "$TESTBED_DIR/contract.sh" "$PROJECT_DIR/tests/testbed" >"$out" 2>&1 || true
        report_suite contract 0 $((SECONDS - started)) "$out" /dev/null
}

command_test() {
        local file suite
        show_progress
        SUITES=tests/vm SUITE_PREFIX=test_
        suites_choose "$@"
        JOBS=()
        for file in "${SUITES_CHOSEN[@]}"; do
                suite_jobs "$file"
        done
        run_setup stock release
        work_folder
        jobs_prepare
        for suite in "${HOST_CHOSEN[@]}"; do
                "host_$suite"
        done
        jobs_run report_suite
        echo "$N_PASSED passed, $N_FAILED failed"
        [[ $N_FAILED -eq 0 && $N_PASSED -gt 0 ]] || exit 1
}

# report_bench LABEL STATUS SECONDS STDOUT STDERR: figures are the lines 'NAME: VALUE (budget B)'.
report_bench() {
        grep -a '^[^ ].*: .* (budget .*)$' "$4" || true
        if [[ $2 -ne 0 ]]; then
                N_FAILED=$((N_FAILED + 1))
                {
                        echo "testbed: $1: status $2"
                        tail -n 60 "$5"
                } >&2
        fi
}

# bench_on_host FILE: a benchmark that compares machines, and runs here: its line is '# testbed: host kernel=NAME,…'.
bench_on_host() {
        local file=$1 kernel status=0 started=$SECONDS
        for kernel in $(suite_headers "$file" | sed -n 's/^host kernel=//p' | tr , ' '); do
                run_setup "$kernel" release
        done
        export TESTBED_SOURCE=$SOURCE
        progress "running $(suite_name "$file")"
        bash "$file" >"$WORK/host.out" 2>"$WORK/host.err" || status=$?
        report_bench "$(suite_name "$file")" "$status" $((SECONDS - started)) "$WORK/host.out" "$WORK/host.err"
}

command_bench() {
        local file on_host=()
        show_progress
        SUITES=tests/bench SUITE_PREFIX=
        HOST_SUITES=
        suites_choose "$@"
        [[ ${#SUITES_CHOSEN[@]} -gt 0 ]] || die "there are no benchmarks"
        JOBS=()
        for file in "${SUITES_CHOSEN[@]}"; do
                if suite_headers "$file" | grep '^host\b' >/dev/null; then
                        on_host+=("$file")
                else
                        suite_jobs "$file"
                fi
        done
        run_setup stock release
        work_folder
        if [[ ${#JOBS[@]} -gt 0 ]]; then
                jobs_prepare
        fi
        # One at a time: they are measuring.
        MACHINES_AT_ONCE=1
        jobs_run report_bench
        for file in "${on_host[@]}"; do
                bench_on_host "$file"
        done
        [[ $N_FAILED -eq 0 ]] || exit 1
}

command_demo() {
        show_progress
        [[ $# -eq 0 ]] || die "demo takes no arguments"
        run_options --append cma=64M
        run_setup stock release
        run_boot "$PROJECT_DIR/tests/vm/demo.sh"
        progress "booting"
        machine_run "$RUN_TIMEOUT"
        exit "$REPLY"
}
