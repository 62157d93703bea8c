# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Makes one entry of the cache: 'bash make-entry.sh MAKER DIR ARG…'. A process of its own, because bash ignores
# 'set -e' in all that is called from a condition, and a maker that goes on after an error would be trusted.

set -Eeuo pipefail
trap 'echo "failed, in ${FUNCNAME[0]-}: $(head -n 1 <<<"$BASH_COMMAND")"' ERR

for part in common host trees kernels kernels-source project image module-build; do
        # shellcheck source=/dev/null
        source "$TESTBED_DIR/$part.sh"
done
"$@"
