#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# testbed: host kernel=upstream,tristate
#
# Compares the times of our heaps with those of the kernel's own. RUNS machines of each kernel run in turn, and each
# gives one median a figure. A line has the ratio of the medians of these, and in brackets the lowest and the highest
# ratio of two successive machines. The lines 'A/A' compare every other machine of the kernel's own heaps with the rest
# of them, which shows the noise.

set -euo pipefail

folder=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
tests=$(cd "$folder/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# measure KERNEL: puts one machine's figures into $work/one.
measure() {
        "$tests/testbed" exec --kernel "$1" --append cma=512M --memory 2560 --timeout 1800 \
                "$folder/guest/module-heaps.py" >"$work/one"
}

for run in $(seq "${RUNS:-5}"); do
        # The first machine of a pair finds colder caches, so the order alternates.
        if ((run % 2)); then kernels='upstream tristate'; else kernels='tristate upstream'; fi
        for kernel in $kernels; do
                # An emulated machine may fail for reasons of its own, so it gets a second try.
                measure "$kernel" || measure "$kernel"
                sed "s/^/$kernel $run /" "$work/one" >>"$work/samples"
        done
done

awk '
        function median(list, n,   i, j, t) {
                for (i = 2; i <= n; i++)
                        for (j = i; j > 1 && list[j - 1] > list[j]; j--) {
                                t = list[j]
                                list[j] = list[j - 1]
                                list[j - 1] = t
                        }
                return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
        }
        function of_runs(kernel, figure, first, step,   run, n, list) {
                n = 0
                for (run = first; run <= runs; run += step)
                        list[++n] = value[kernel, run, figure]
                return median(list, n)
        }
        {
                figure = $3 " " $4 " " ($5 < 1048576 ? $5 / 1024 " KiB" : $5 / 1048576 " MiB")
                if (!(figure in seen)) {
                        seen[figure] = 1
                        figures[++n_figures] = figure
                }
                value[$1, $2, figure] = $6
                runs = $2 > runs ? $2 : runs
        }
        END {
                for (i = 1; i <= n_figures; i++) {
                        figure = figures[i]
                        low = high = value["tristate", 1, figure] / value["upstream", 1, figure]
                        for (run = 2; run <= runs; run++) {
                                ratio = value["tristate", run, figure] / value["upstream", run, figure]
                                low = ratio < low ? ratio : low
                                high = ratio > high ? ratio : high
                        }
                        printf "%s, ours over upstream: %.3f [%.3f to %.3f] (budget 1.05)\n", figure,
                                of_runs("tristate", figure, 1, 1) / of_runs("upstream", figure, 1, 1), low, high
                        if (runs > 1)
                                printf "%s, A/A: %.3f (budget none)\n", figure,
                                        of_runs("upstream", figure, 1, 2) / of_runs("upstream", figure, 2, 2)
                }
        }
' "$work/samples"
