# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# Makes one entry of the cache: 'bash make-entry.sh MAKER DIR ARG…'. It is a process of its own, because bash ignores
# 'set -e' in everything that is called from a condition, so a maker would go on after an error.

set -Eeuo pipefail
trap 'echo "failed, in ${FUNCNAME[0]-}: $(head -n 1 <<<"$BASH_COMMAND")"' ERR

for part in common host trees kernels kernels-source project image module-build; do
        # shellcheck source=/dev/null
        source "$TESTBED_DIR/$part.sh"
done
"$@"
