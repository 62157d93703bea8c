#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Holds the source tree to docs/design.md, 'The house'.

Usage: check-house.py ROOT. Prints one line for each fault, and exits 1 if there is one.

It checks which folder of daemon/ may include which, which folder may include which library, that no two
nouns include each other in a circle, how long a file and a line may be, and that every file names its licence."""

import pathlib
import re
import sys

# The rooms of daemon/, lowest first: a file includes headers of its own room and of the rooms above it in this list.
# Rooms that share a line do not know each other. A room is a folder, or one noun of daemon/ itself.
ROOMS = [
    ['util'],
    ['limits', 'heap', 'census'],
    ['clients', 'ledger', 'config', 'worker'],
    ['accounting'],
    ['request'],
    ['manager'],
    ['varlink'],
    ['main'],
]

# The libraries, by the headers that they are included with, and the files of daemon/ that may include them. A name that
# ends in '/' stands for a folder. The C library, sd-event and the kernel's headers are everybody's.
LIBRARIES = {
    r'systemd/sd-varlink.*\.h': ['varlink/'],
    r'systemd/sd-json\.h': ['varlink/'],
    r'systemd/sd-login\.h': ['clients/peer.c'],
    r'systemd/sd-id128\.h': ['accounting/accounting-start.c'],
    r'systemd/sd-daemon\.h': ['manager.c', 'varlink/'],
    r'systemd/sd-journal\.h': ['util/log.c'],
    r'libkmod\.h': ['heap/module-kmod.c', 'heap/module-loader.c'],
    r'libudev\.h': ['heap/device-monitor.c'],
    r'bpf/.*\.h': ['census/'],
    r'seccomp\.h': ['worker/'],
}

# What only these files of daemon/ may do.
RESERVED = {
    r'\bDMA_HEAP_IOCTL_ALLOC\b': ['worker/worker.c'],
    r'\bSYS_clone3\b': ['worker/spawner.c'],
}

# These nouns of daemon/ compile with libc alone, and do no input or output.
PURE = ['limits/quota', 'limits/policy', 'limits/identity']
PURE_HEADERS = {'assert.h', 'errno.h', 'stdbool.h', 'stddef.h', 'stdint.h', 'stdlib.h', 'string.h', 'sys/types.h'}

LINES_MAX = 500
COLUMNS_MAX = 120

# The folders of code that ships, whose files have at most LINES_MAX lines.
SHIPPED = {'daemon', 'module', 'client'}

FOLDERS = ['daemon', 'module', 'client', 'units', 'udev', 'man', 'tests', '.ci']
CODE = {'.c', '.h', '.py', '.sh', '.rules', '.service', '.socket', '.target', '.scope', '.slice', '.map', '.sym'}
CODE_NAMES = {'meson.build', 'meson.options', 'Kbuild', 'Kconfig', 'Makefile', 'testbed', 'run'}

def room_of(name: str) -> str:
    """The room of a file of daemon/, given its path there: its folder, or its own noun."""
    return name.split('/')[0] if '/' in name else noun_of(name)


def noun_of(name: str) -> str:
    """The noun of a file: its path without the ending, so that x.c, x.h and what they keep in x-internal.h are one."""
    return re.sub(r'(-internal)?(\.bpf)?\.[ch]$', '', name)


def may_know(room: str, other: str) -> bool:
    """Whether files of one room may include headers of the other."""
    rank = {name: number for number, names in enumerate(ROOMS) for name in names}
    return room == other or rank[other] < rank[room]


def is_allowed(name: str, places: list[str]) -> bool:
    """Whether the file is one of the places, or lies in one that is a folder."""
    return any(name.startswith(place) if place.endswith('/') else name == place for place in places)


def included(text: str) -> list[str]:
    """The project's headers that a source includes, as they are written."""
    return re.findall(r'^#include "([^"]+)"', text, re.M)


def check_rooms(root: pathlib.Path) -> list[str]:
    """Includes of daemon/ against the order of rooms, libraries and calls outside their places, and pure nouns."""
    faults = []
    folder = root / 'daemon'
    known = {room for rooms in ROOMS for room in rooms}
    for path in sorted(folder.rglob('*.[ch]')):
        name = path.relative_to(folder).as_posix()
        text = path.read_text(encoding='utf-8')
        room = room_of(name)
        if room not in known:
            faults.append(f'daemon/{name}: is in no room; give it one in tests/house/check-house.py')
            continue

        for header in included(text):
            if not (folder / header).exists():
                if (path.parent / header).exists() or list(folder.rglob(header)):
                    faults.append(f'daemon/{name}: includes "{header}" without its folder')
                continue  # what the build makes
            if room_of(header) in known and not may_know(room, room_of(header)):
                faults.append(f'daemon/{name}: includes {header}, but {room} may not know {room_of(header)}')

        for header in re.findall(r'^#include <([^>]+)>', text, re.M):
            for library, places in LIBRARIES.items():
                if re.fullmatch(library, header) and not is_allowed(name, places):
                    faults.append(f'daemon/{name}: includes <{header}>, which is only for {", ".join(places)}')
            if noun_of(name) in PURE and header not in PURE_HEADERS:
                faults.append(f'daemon/{name}: includes <{header}>, but is pure')

        for pattern, places in RESERVED.items():
            if re.search(pattern, text) and not is_allowed(name, places):
                faults.append(f'daemon/{name}: says {pattern}, which is only for {", ".join(places)}')
    return faults


def include_graph(folder: pathlib.Path) -> dict[str, set[str]]:
    """Which nouns below a folder include which: a header counts where it is found beside the file or below the
    folder."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob('*.[ch]')}
    by_name: dict[str, list[str]] = {}
    for name in files:
        by_name.setdefault(name.rsplit('/', 1)[-1], []).append(name)

    graph: dict[str, set[str]] = {}
    for name in files:
        arrows = graph.setdefault(noun_of(name), set())
        for header in included((folder / name).read_text(encoding='utf-8')):
            beside = (pathlib.PurePosixPath(name).parent / header).as_posix()
            found = [beside] if beside in files else [header] if header in files else by_name.get(header, [])
            arrows.update(noun_of(other) for other in found[:1] if noun_of(other) != noun_of(name))
    return graph


def find_circle(graph: dict[str, set[str]]) -> list[str] | None:
    """One circle of the graph, as the nouns on it, the first one repeated at the end; None if there is none."""
    done: set[str] = set()

    def visit(noun: str, path: list[str]) -> list[str] | None:
        if noun in path:
            return path[path.index(noun):] + [noun]
        if noun in done:
            return None
        for other in sorted(graph.get(noun, ())):
            circle = visit(other, path + [noun])
            if circle:
                return circle
        done.add(noun)
        return None

    for noun in sorted(graph):
        circle = visit(noun, [])
        if circle:
            return circle
    return None


def check_circles(root: pathlib.Path) -> list[str]:
    """Circles of includes in each of the folders that ship C."""
    faults = []
    for name in sorted(SHIPPED):
        circle = find_circle(include_graph(root / name))
        if circle:
            faults.append(f'{name}/: includes go in a circle: {" -> ".join(circle)}')
    return faults


def check_file(path: pathlib.Path, name: pathlib.PurePath) -> list[str]:
    """Licence, length and width of one file of code."""
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except UnicodeDecodeError:
        return []

    faults = []
    if not any('SPDX-License-Identifier: ' in line for line in lines[:3]):
        faults.append(f'{name}: does not name its licence (SPDX) in its first lines')
    shipped = path.suffix in {'.c', '.h'} and name.parts[0] in SHIPPED and 'tests' not in name.parts
    if shipped and len(lines) > LINES_MAX:
        faults.append(f'{name}: has {len(lines)} lines, more than {LINES_MAX}')
    for number, line in enumerate(lines, 1):
        width = len(line.expandtabs(8))
        if width > COLUMNS_MAX:
            faults.append(f'{name}:{number}: has {width} columns, more than {COLUMNS_MAX}')
    return faults


def check_sources(root: pathlib.Path) -> list[str]:
    """Every file of code below the root."""
    faults = []
    paths = [root / 'meson.build', root / 'meson.options']
    for folder in FOLDERS:
        paths += [path for path in (root / folder).rglob('*') if path.is_file()]
    for path in sorted(path for path in paths if path.exists()):
        if path.suffix in CODE or path.name in CODE_NAMES:
            faults += check_file(path, path.relative_to(root))
    return faults


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2

    root = pathlib.Path(sys.argv[1])
    faults = check_rooms(root) + check_circles(root) + check_sources(root)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
