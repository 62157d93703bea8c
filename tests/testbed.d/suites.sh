# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# 'test', 'bench' and 'demo'.

command_test() { die "not yet"; }
command_bench() { die "not yet"; }
command_demo() { die "not yet"; }
