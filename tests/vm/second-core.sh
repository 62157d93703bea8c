#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Inserts dma_heap.ko beside the kernel's own core. It is silent if the kernel refuses that, because two modules may not
# export the same symbols, and nothing has changed.
set -u

cd "$(dirname "$0")" || exit
before=$(ls /dev/dma_heap)
dmesg --clear
if insmod dma_heap.ko 2>/dev/null; then
        echo "it was taken"
fi
dmesg --notime | grep -q 'dma_heap: exports duplicate symbol .* (owned by kernel)' || {
        echo "not refused for that"
        dmesg
}
! dmesg | grep -E 'BUG:|WARNING:|Call Trace' || exit
[[ $(ls /dev/dma_heap) == "$before" && -n $before ]] || { echo "heaps have changed"; ls /dev/dma_heap; }
