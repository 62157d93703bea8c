#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks that each mutant can still be tried: a file tests/mutants/NAME.patch begins with the lines 'Fault:', 'Suites:'
and 'Seen by:', names suites that there are, and applies to the tree without fuzz.

Usage: check-mutants.py ROOT. Prints one line a fault, and exits 1 if there is one. It needs patch(1), and writes
nothing below ROOT."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HEAD = ['Fault', 'Suites', 'Seen by']


def check_head(root: pathlib.Path, text: str) -> list[str]:
    lines = text.split('\n')[:len(HEAD)]
    found = [re.fullmatch(rf'{word}: (\S.*)', line) for word, line in zip(HEAD, lines)]
    if len(found) < len(HEAD) or not all(found):
        return [f'does not begin with the lines {", ".join(word + ":" for word in HEAD)}']

    # 'unit' is meson's tests; every other suite runs in machines.
    suites = found[1][1].replace(',', ' ').split()
    return [f'names the suite {suite}, which does not exist' for suite in suites
            if suite != 'unit' and not (root / f'tests/vm/test_{suite.replace("-", "_")}.py').is_file()]


def check_patch(root: pathlib.Path, text: str) -> list[str]:
    names = re.findall(r'^--- a/(\S+)$', text, re.M)
    if not names:
        return ['has no patch']
    missing = [name for name in names if not (root / name).is_file()]
    if missing:
        return [f'changes {name}, which does not exist' for name in missing]

    with tempfile.TemporaryDirectory() as copy:
        for name in names:
            target = pathlib.Path(copy, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, target)
        done = subprocess.run(['patch', '--batch', '--forward', '--fuzz=0', '--strip=1', '--reject-file=-'], cwd=copy,
                              input=text, text=True, capture_output=True, check=False)
    failed = re.findall(r'^(?:Hunk .* (?:FAILED|ignored).*|patch: .*)$', done.stdout + done.stderr, re.M)
    return [f'does not apply to {", ".join(names)}: {"; ".join(failed) or "patch failed"}'] if done.returncode else []


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2

    root = pathlib.Path(sys.argv[1])
    mutants = sorted((root / 'tests/mutants').glob('*.patch'))
    faults = [] if mutants else ['tests/mutants: has no mutants']
    for path in mutants:
        text = path.read_text(encoding='utf-8')
        faults += [f'tests/mutants/{path.name}: {fault}' for fault in check_head(root, text) + check_patch(root, text)]
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
