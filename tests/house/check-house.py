#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks what docs/design.md, 'The house', says of the source tree: who may know whom, which file may use which library, how long
a file may be, and that each says its licence.

Usage: check-house.py ROOT. Prints one line a fault, and exits 1 if there is one."""

import pathlib
import re
import sys

# Layers of daemon/, the lowest first: a file includes headers of its own layer or of lower ones. A name stands for itself
# and for whatever begins with it and a hyphen: 'ledger' for ledger.c and ledger-file.h.
LAYERS = [
    ['util/'],
    ['quota', 'policy', 'identity', 'cgroup-bytes', 'memory-cgroup'],
    ['config', 'client', 'peer', 'connection', 'census', 'dmabuf-iter', 'heap', 'worker-protocol'],
    ['ledger', 'rules', 'device-monitor', 'module', 'heap-scan', 'heap-choice', 'worker', 'spawner-link', 'buffer', 'input-watch',
     'varlink-io.dmaheapd.Allocator'],
    ['accounting', 'budget'],
    ['request'],
    ['manager'],
    ['reply-json'],
    ['varlink-link'],
    ['varlink-methods'],
    ['varlink-server'],
    ['main', 'spawner'],
]

# What only these files of daemon/ may say.
RESERVED = {
    r'#include <systemd/sd-varlink\.h>': ['varlink-link.h', 'varlink-methods.h'],
    r'#include <systemd/sd-varlink-idl\.h>': ['varlink-io.dmaheapd.Allocator.h', 'varlink-io.dmaheapd.Allocator.c'],
    r'#include <libkmod\.h>': ['module-kmod.c', 'module-loader.c'],
    r'#include <libudev\.h>': ['device-monitor.c'],
    r'#include <bpf/bpf_helpers\.h>': ['dmabuf-iter.bpf.c'],
    r'#include <bpf/(?!bpf_helpers)': ['census-bpf.c'],
    r'\bDMA_HEAP_IOCTL_ALLOC\b': ['worker.c'],
}

# These compile with libc alone, and do nothing but think.
PURE = ['quota', 'policy']
PURE_HEADERS = {'assert.h', 'errno.h', 'stdbool.h', 'stddef.h', 'stdint.h', 'stdlib.h', 'string.h', 'sys/types.h'}

LINES_MAX = 500
SHORT = {'daemon', 'module', 'client'}

# What has lines, and the folders with what is ours.
FOLDERS = ['daemon', 'module', 'client', 'units', 'udev', 'man', 'tests', '.ci']
CODE = {'.c', '.h', '.py', '.sh', '.rules', '.service', '.socket', '.target', '.scope', '.slice', '.map', '.sym'}
CODE_NAMES = {'meson.build', 'meson.options', 'Kbuild', 'Kconfig', 'Makefile', 'testbed', 'run'}


def layer_of(path: str) -> int | None:
    """The layer of a file in daemon/, given its path there; the longest name that fits decides."""
    best = None
    stem = re.sub(r'\.bpf\.c$|\.[ch]$', '', path)
    for number, names in enumerate(LAYERS):
        for name in names:
            fits = path.startswith(name) if name.endswith('/') else stem == name or stem.startswith(name + '-')
            if fits and (best is None or len(name) > best[0]):
                best = (len(name), number)
    return best[1] if best else None


def check_daemon(root: pathlib.Path) -> list[str]:
    faults = []
    folder = root / 'daemon'
    headers = {p.name: p.relative_to(folder).as_posix() for p in folder.rglob('*.h')}

    for path in sorted(folder.rglob('*.[ch]')):
        name = path.relative_to(folder).as_posix()
        text = path.read_text(encoding='utf-8')
        layer = layer_of(name)
        if layer is None:
            faults.append(f'daemon/{name}: has no layer; give it one in tests/house/check-house.py')
            continue

        for header in re.findall(r'^#include "([^"]+)"', text, re.M):
            if header not in headers:  # made by the build
                continue
            other = layer_of(headers[header])
            if other is not None and other > layer:
                faults.append(f'daemon/{name}: knows {header}, which is above it')

        for pattern, allowed in RESERVED.items():
            if re.search(pattern, text) and name not in allowed:
                faults.append(f'daemon/{name}: {pattern} is only for {", ".join(allowed)}')

        if pathlib.PurePath(name).stem in PURE:
            for header in re.findall(r'^#include <([^>]+)>', text, re.M):
                if header not in PURE_HEADERS:
                    faults.append(f'daemon/{name}: is pure, and does not know <{header}>')

    return faults


def check_sources(root: pathlib.Path) -> list[str]:
    faults = []
    paths = [root / 'meson.build', root / 'meson.options']
    for folder in FOLDERS:
        paths += [p for p in (root / folder).rglob('*') if p.is_file()]

    for path in sorted(paths):
        name = path.relative_to(root)
        if path.suffix not in CODE and path.name not in CODE_NAMES:
            continue

        try:
            lines = path.read_text(encoding='utf-8').splitlines()
        except UnicodeDecodeError:
            continue
        if not any('SPDX-License-Identifier: ' in line for line in lines[:3]):
            faults.append(f'{name}: does not say its licence (SPDX) in its first lines')
        short = path.suffix in {'.c', '.h'} and name.parts[0] in SHORT and 'tests' not in name.parts
        if short and len(lines) > LINES_MAX:
            faults.append(f'{name}: has {len(lines)} lines, more than {LINES_MAX}')

    return faults


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2

    root = pathlib.Path(sys.argv[1])
    faults = check_daemon(root) + check_sources(root)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
