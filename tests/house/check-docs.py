#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks that the documentation leads somewhere: every link, path and function in a .md file exists, no file cites a
.md file that a clone does not have, docs/interface.md has the interface, the configuration keys and the build options
of the sources, and docs/overview.svg has the words of docs/overview.dot.

Usage: check-docs.py ROOT. Prints one line a fault, and exits 1 if there is one."""

import html
import pathlib
import re
import sys

TOP = 'daemon|module|client|units|udev|man|docs|tests'
SKIPPED = {'.git', 'build', '__pycache__', 'mutants'}  # a mutant may cite anything


def files(root: pathlib.Path) -> list[pathlib.Path]:
    """Every file of the tree, but for what version control and builds keep there."""
    return [p for p in sorted(root.rglob('*')) if p.is_file() and not SKIPPED & set(p.relative_to(root).parts)]


def anchors(text: str) -> set[str]:
    """What a link may have behind its '#': the headings, as GitHub and others write them."""
    headings = re.findall(r'^#+ (.*)$', text, re.M)
    return {re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings}


def check_links(path: pathlib.Path, name: str) -> list[str]:
    faults = []
    text = path.read_text(encoding='utf-8')
    for target in re.findall(r'\]\(([^)\s]+)\)', text):
        file, _, anchor = target.partition('#')
        linked = path.parent / file if file else path
        if '://' in target:
            continue
        if not linked.exists():
            faults.append(f'{name}: links {target}, which does not exist')
        elif anchor and anchor not in anchors(linked.read_text(encoding='utf-8')):
            faults.append(f'{name}: links {target}, which has no such heading')
    return faults


def path_exists(root: pathlib.Path, path: str) -> bool:
    """Whether there is such a file or folder; words in capitals stand for any name."""
    pattern = re.sub(r'(?<![A-Za-z])[A-Z]{2,}(?![A-Za-z])', '*', path.rstrip('/.'))
    return any(root.glob(pattern))


def check_paths(root: pathlib.Path, path: pathlib.Path, name: str) -> list[str]:
    said = set(re.findall(rf'(?<![\w/.-])(?:{TOP})/[\w./*-]*', path.read_text(encoding='utf-8')))
    return [f'{name}: speaks of {p}, which does not exist' for p in sorted(said)
            if not path_exists(root, p)]


def check_citations(root: pathlib.Path) -> list[str]:
    """A page that is cited anywhere, in a comment or a text, is one of the tree's."""
    faults = []
    everything = files(root)
    pages = {p.name for p in everything if p.suffix == '.md'}
    for path in everything:
        try:
            text = path.read_text(encoding='utf-8')
        except UnicodeDecodeError:
            continue
        for page in sorted(set(re.findall(r'\b[\w-]+\.md\b', text)) - pages):
            faults.append(f'{path.relative_to(root)}: cites {page}, which a clone does not have')
    return faults


def check_functions(root: pathlib.Path, pages: list[pathlib.Path]) -> list[str]:
    """A function that a page names is one that the sources have."""
    code = '\n'.join(p.read_text(encoding='utf-8') for p in files(root) if p.suffix in {'.c', '.h', '.py'})
    known = set(re.findall(r'\b(\w+)\(', code))
    return [f'{page.relative_to(root)}: names {function}(), which no source has' for page in pages
            for function in sorted(set(re.findall(r'`(?:\w+\.)?(\w+)\(\)`', page.read_text(encoding='utf-8'))) - known)]


def blocks(text: str) -> list[str]:
    return re.findall(r'^```\w*\n(.*?)^```$', text, re.M | re.S)


def check_interface(root: pathlib.Path) -> list[str]:
    faults = []
    page = (root / 'docs/interface.md').read_text(encoding='utf-8')

    suite = (root / 'tests/vm/test_daemon_allocate.py').read_text(encoding='utf-8')
    interface = re.search(r'^INTERFACE = """\n(.*?)^"""', suite, re.M | re.S)
    if not interface or interface[1] not in blocks(page):
        faults.append('docs/interface.md: has not the interface that tests/vm/test_daemon_allocate.py compares with')

    source = next((root / 'daemon').rglob('config-keys.c')).read_text(encoding='utf-8')
    keys = [(section.capitalize(), key) for section, key in re.findall(r'\{ SECTION_(\w+), "(\w+)", set_', source)]
    said = []
    section = ''
    for first, second in re.findall(r'^\| (?:`\[(\w+)[^`]*`)? ?\| ((?:`\w+=`(?:, )?)+) \|', page, re.M):
        section = first or section
        said += [(section, key) for key in re.findall(r'`(\w+)=`', second)]
    if len(keys) < 10 or sorted(said) != sorted(keys):
        faults.append(f'docs/interface.md: config-keys.c has other keys, or these twice: {set(said) ^ set(keys)}')

    options = set(re.findall(r"^option\('(\w+)'", (root / 'meson.options').read_text(encoding='utf-8'), re.M))
    if not options or set(re.findall(r'^\| `-D(\w+)=` \|', page, re.M)) != options:
        faults.append(f'docs/interface.md: the build options are {", ".join(sorted(options))}')

    return faults


def check_picture(root: pathlib.Path) -> list[str]:
    source = (root / 'docs/overview.dot').read_text(encoding='utf-8')
    drawn = html.unescape((root / 'docs/overview.svg').read_text(encoding='utf-8')).replace('\xa0', ' ')
    labels = re.findall(r'label="([^"]+)"|label=<(.*)>\]', source)
    words = {word for plain, marked in labels for word in [plain, *re.split(r'<[^>]*>', marked)] if word}
    missing = [word for word in sorted(words) if f'>{word}<' not in drawn]
    return [f'docs/overview.svg: was not drawn again since docs/overview.dot says "{word}"' for word in missing]


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2

    root = pathlib.Path(sys.argv[1])
    pages = [*sorted(root.glob('*.md')), *sorted((root / 'docs').glob('*.md'))]
    faults = check_citations(root) + check_functions(root, pages) + check_interface(root) + check_picture(root)
    for path in pages:
        name = path.relative_to(root).as_posix()
        faults += check_links(path, name) + check_paths(root, path, name)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


if __name__ == '__main__':
    sys.exit(main())
