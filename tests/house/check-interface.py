#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks that what the daemon can say, and can be told, reaches those who use it: every error, method, field and word
of the interface, in the client library and the manual; every field that is sent in what the fake daemon of the client's
tests sends; every error in the tests that take it to the C caller, the command's words and the preload library; the
whole interface in docs/interface.md; and every key of the configuration in dmaheapd.conf(5), and the other way round.

Usage: check-interface.py ROOT. Prints one line a fault, and exits 1 if there is one."""

import json
import pathlib
import re
import runpy
import socket
import sys

SERVICE_ERRORS = ['InvalidParameter', 'PermissionDenied']  # the general ones that this service sends of its own accord


class Checker:
    def __init__(self, root: pathlib.Path):
        self.root = root
        self.faults: list[str] = []

    def read(self, name: str) -> str:
        return (self.root / name).read_text(encoding='utf-8')

    def fault(self, text: str) -> None:
        if text not in self.faults:
            self.faults.append(text)

    def expect(self, pattern: str, name: str, what: str) -> 're.Match[str] | None':
        """What matches in the file of that name, where there has to be something."""
        found = re.search(pattern, self.read(name), re.M | re.S)
        if not found:
            self.fault(f'{name}: lacks {what}')
        return found


def interface_symbols(text: str, kind: str) -> dict[str, str]:
    """Errors, methods or struct types of the interface's source, each with what defines it."""
    return dict(re.findall(rf'SD_VARLINK_DEFINE_{kind}(?:_FULL)?\(\s*(\w+)\s*,(.*?)\);', text, re.S))


def interface_fields(definition: str) -> list[str]:
    return re.findall(r'(?:DEFINE_(?:FIELD|INPUT|OUTPUT)(?:_BY_TYPE)?|FIELD_INLINE_ENUM|[A-Z_]*ENUM[A-Z_]*)\((\w+),',
                      definition)


def inline_enums(text: str) -> dict[str, list[str]]:
    """The words of each 'enum_NAME'."""
    return {name: re.findall(r'DEFINE_ENUM_VALUE\((\w+)\)', body)
            for name, body in re.findall(r'^DEFINE_INLINE_ENUM\(\s*enum_(\w+),(.*?)\);', text, re.S | re.M)}


def check_errors(c: Checker, source: str) -> None:
    manual = c.read('man/io.dmaheapd.Allocator.7.scd')
    errors = interface_symbols(source, 'ERROR')
    if not errors:
        c.fault('no errors found in the interface: has its source changed its form?')

    for name in [*errors, *SERVICE_ERRORS]:
        full = name if name in errors else f'org.varlink.service.{name}'
        constant = re.sub(r'(?<!^)([A-Z])', r'_\1', name).upper()
        table = f'INTERFACE ".{name}"' if name in errors else f'SD_VARLINK_ERROR_{constant}'
        entry = c.expect(re.escape(table) + r',\s*(DMAHEAP_\w+),\s*(E\w+),', 'client/libdmaheap/error.c', full)
        if entry:
            reason, number = entry.groups()
            c.expect(rf'^    {reason}\b|^        {reason},', 'client/libdmaheap/dmaheap.h', reason)
            c.expect(rf'^ \*     -{number} .* {reason}$', 'client/libdmaheap/dmaheap.h',
                     f'{reason}, {number} in its table')
            c.expect(rf'^\*-{number}\*.*\*{reason}\*\n\t[^*]*\(\*{name}\*\)|'
                     rf'^\*-{number}\*.*\*{reason}\*\n(?:\t.*\n)*?\t.*\*{name}\*',
                     'man/dmaheap_error_free.3.scd', f'{reason}, {number} for {name}')
            c.expect(rf'"error-"? ?(?:SERVICE\(")?{name}".*?-{number}, {reason}', 'client/tests/test-errors.c', full)
        c.expect(rf'^\*(?:org\.varlink\.service\.)?{name}\*$', 'man/dmaheapctl.1.scd', full)
        c.expect(rf'"{name}": |"org\.varlink\.service\.{name}": ', 'client/tests/fake-daemon.py', full)
        c.expect(rf'(?:PREFIX|SERVICE) \+ "{name}": ', 'client/tests/test-ctl.py', full)
        c.expect(rf'"(?:org\.varlink\.service\.)?{name}", errno\.E', 'client/tests/test-preload.py', full)

        said = re.search(rf'^\*(?:org\.varlink\.service\.)?{name}\*\((.*)\)$', manual, re.M)
        if not said:
            c.fault(f'man/io.dmaheapd.Allocator.7.scd: lacks {full}')
        elif name in errors:
            said_fields = re.findall(r'_(\w+)_: ', said[1])
            if said_fields != interface_fields(errors[name]):
                c.fault(f'man/io.dmaheapd.Allocator.7.scd: {name} has the fields {interface_fields(errors[name])}')

    for name in set(re.findall(r'INTERFACE "\.(\w+)"', c.read('client/libdmaheap/error.c'))) - set(errors):
        c.fault(f'client/libdmaheap/error.c: there is no error {name}')

    # Those without a name of the interface: each reason is in the manual, too.
    for reason in re.findall(r'^        (DMAHEAP_[A-Z_]+)[, ]', re.search(r'enum DmaHeapReason \{(.*?)\}', c.read(
            'client/libdmaheap/dmaheap.h'), re.S)[1], re.M):
        c.expect(rf'\*{reason}\*', 'man/dmaheap_error_free.3.scd', reason)
        c.expect(rf'\b{reason}\b', 'client/tests/test-errors.c', f'a test of {reason}')


def check_methods(c: Checker, source: str) -> None:
    manual = c.read('man/io.dmaheapd.Allocator.7.scd')
    methods = interface_symbols(source, 'METHOD')
    for name, definition in methods.items():
        said = re.search(rf'^\*{name}\*\((.*)$', manual, re.M)
        fields = interface_fields(definition)
        if not said or re.findall(r'_(\w+)_: ', said[1]) != fields:
            c.fault(f'man/io.dmaheapd.Allocator.7.scd: {name} has the parameters {fields}')
        c.expect(rf'INTERFACE "\.{name}"', 'client/libdmaheap/method.c', name)

    types = interface_symbols(source, 'STRUCT_TYPE')
    if len(types) < 5 or len(methods) < 5:
        c.fault('too few types or methods found in the interface: has its source changed its form?')
    for name, definition in types.items():
        text = re.search(rf'\*{name}\* has\s.*?(?:\n\n|\Z)', manual, re.S)
        for field in interface_fields(definition):
            if not text or f'_{field}_' not in text[0]:
                c.fault(f'man/io.dmaheapd.Allocator.7.scd: does not say that a {name} has {field}')


# The functions of reply.c that read the fields of a type or of a method's reply. field_entries() reads the name that
# parse_parameters() gives it, and field_heap_usages() the field 'heaps' of two.
PARSERS = {
    'Heap': ['parse_heap_info'],
    'Buffer': ['parse_buffers'],
    'Usage': ['field_usage'],
    'HeapUsage': ['parse_heap_usage'],
    'Client': ['parse_client', 'field_heap_usages'],
    'LiveBuffer': ['parse_live_buffer'],
    'Allocate': ['parse_buffers'],
    'ListHeaps': ['parse_parameters'],
    'GetUsage': ['parse_usage_report', 'field_heap_usages'],
    'ListClients': ['parse_parameters'],
    'ListBuffers': ['parse_parameters'],
}


def sent_fields(definition: str) -> list[tuple[str, str]]:
    """The fields of a type, or those of a method's reply; each with its type of the interface, or ''."""
    found = re.findall(r'DEFINE_(?:FIELD|OUTPUT)(?:_BY_TYPE)?\((\w+),\s*(\w+)|\bFIELD_INLINE_ENUM\((\w+),', definition)
    return [(field or enum, kind) for field, kind, enum in found]


def fake_reply(answer, method: str) -> dict:
    """The parameters of the fake daemon's reply. It does not look at parameters that the method does not have."""
    ours, its = socket.socketpair()
    with ours, its:
        answer(its, {'method': 'io.dmaheapd.Allocator.' + method, 'parameters': {'size': 1}})
        return json.loads(ours.recv(1 << 16)[:-1])['parameters']


def objects_of(value) -> list[dict]:
    return value if isinstance(value, list) else [value]


def check_fields(c: Checker, source: str) -> None:
    """What the daemon sends is read by the library, and sent by the fake daemon that the client is tested with."""
    types, methods = interface_symbols(source, 'STRUCT_TYPE'), interface_symbols(source, 'METHOD')
    functions = dict(re.findall(r'^static [^;{]*?\b(\w+)\([^;{]*\) \{\n(.*?)^\}', c.read('client/libdmaheap/reply.c'),
                                re.S | re.M))
    answer = runpy.run_path(str(c.root / 'client/tests/fake-daemon.py'))['answer']

    def check(name: str, definition: str, objects: list[dict]) -> None:
        parser = ''.join(functions.get(function, '') for function in PARSERS.get(name, ()))
        for field, kind in sent_fields(definition):
            if f'"{field}"' not in parser:
                c.fault(f'client/libdmaheap/reply.c: does not read {field} of {name}')
            values = [entry for sent in objects if field in sent for entry in objects_of(sent[field])]
            if not values:
                c.fault(f'client/tests/fake-daemon.py: does not send {field} of {name}')
            elif kind in types:
                check(kind, types[kind], values)

    for name, definition in methods.items():
        check(name, definition, [fake_reply(answer, name)])


def interface_type(text: str, flags: str, words: dict[str, list[str]]) -> str:
    """A type as the interface's language has it."""
    plain = {'SD_VARLINK_STRING': 'string', 'SD_VARLINK_INT': 'int', 'SD_VARLINK_BOOL': 'bool'}.get(text, text)
    enum = words.get(text.removeprefix('enum_')) if text.startswith('enum_') else None
    return (('?' if 'NULLABLE' in flags else '') + ('[]' if 'ARRAY' in flags else '')
            + (f'({", ".join(enum)})' if enum else plain))


def interface_text(source: str) -> str:
    """The interface that the source defines, in the interface's language, without comments."""
    kinds = {'type': interface_symbols(source, 'STRUCT_TYPE'), 'method': interface_symbols(source, 'METHOD'),
             'error': interface_symbols(source, 'ERROR')}
    words = inline_enums(source)
    text = ['interface ' + re.search(r'SD_VARLINK_DEFINE_INTERFACE\(\s*\w+,\s*"([\w.]+)"', source)[1]]
    order = source[source.index('SD_VARLINK_DEFINE_INTERFACE('):]
    for kind, name in re.findall(r'&vl_(type|method|error)_(\w+)', order):
        lists: dict[str, list[str]] = {'IN': [], 'OUT': [], '': []}
        for macro, field, type_name, flags in re.findall(
                r'(DEFINE_(?:FIELD|INPUT|OUTPUT)(?:_BY_TYPE)?|FIELD_INLINE_ENUM|INPUT_INLINE_ENUM)'
                r'\((\w+),\s*(\w+)(?:,\s*([\w |]+))?\)', kinds[kind][name]):
            direction = 'IN' if 'INPUT' in macro else 'OUT' if 'OUTPUT' in macro else ''
            lists[direction].append(f'{field}: {interface_type(type_name, flags, words)}')
        said = f'{kind} {name} ({", ".join(lists["IN"] or lists[""])})'
        text.append(said + (f' -> ({", ".join(lists["OUT"])})' if kind == 'method' else ''))
    return '\n'.join(text)


def one_line(text: str) -> str:
    """A text of the interface's language without the white space that means nothing."""
    return re.sub(r' ?([()]) ?', r'\1', ' '.join(text.split()))


def check_page(c: Checker, source: str) -> None:
    """docs/interface.md has the interface of the source. (check-docs.py compares it with a test's.)"""
    page = re.search(r'^```\n(interface .*?)^```$', c.read('docs/interface.md'), re.M | re.S)
    if not page:
        c.fault('docs/interface.md: has no interface')
        return
    # A symbol a line, so that a fault names it.
    said = [one_line(symbol) for symbol in re.split(r'\n+(?=(?:type|method|error) )', page[1])]
    wanted = [one_line(symbol) for symbol in interface_text(source).splitlines()]
    for symbol in [symbol for symbol in wanted if symbol not in said]:
        c.fault(f'docs/interface.md: lacks {symbol}')
    for symbol in [symbol for symbol in said if symbol not in wanted]:
        c.fault(f'docs/interface.md: has {symbol}, which the daemon has not')
    if sorted(said) == sorted(wanted) and said != wanted:
        c.fault('docs/interface.md: has the interface in another order')


def check_words(c: Checker, source: str) -> None:
    """The words of the interface's enumerations, and the resources, which are an open list."""
    manual = c.read('man/io.dmaheapd.Allocator.7.scd')
    library = ''.join(c.read(f'client/libdmaheap/{name}.c')
                      for name in ('error', 'reply', 'parse', 'connection', 'event', 'call'))
    words = inline_enums(source)
    if 'scope' not in words or len(words) < 4:
        c.fault(f'too few enumerations found in the interface ({", ".join(words)}): has its source changed its form?')
    sent_by_clients = set(re.findall(r'INPUT_INLINE_ENUM\(\w+, enum_(\w+)', source))
    for name, values in words.items():
        for word in values:
            if f'"{word}"' not in library and name not in sent_by_clients:
                c.fault(f'client/libdmaheap: does not know {word}')
            if not re.search(rf'\b{word}\b', manual):
                c.fault(f'man/io.dmaheapd.Allocator.7.scd: lacks {word}')

    resources = set()
    for path in (c.root / 'daemon').rglob('*.c'):
        resources |= set(re.findall(r'(?:fail_resource|link_refuse)\(\w+, "(\w+)"\)', path.read_text(encoding='utf-8')))
    if not resources:
        c.fault('no resources found in the daemon: has their form changed?')
    for word in resources:
        for name in ('man/io.dmaheapd.Allocator.7.scd', 'client/libdmaheap/dmaheap.h',
                     'daemon/varlink/varlink-io.dmaheapd.Allocator.c'):
            c.expect(rf'\b{word}\b', name, f'the resource {word}')


def check_configuration(c: Checker) -> None:
    keys = {(section.upper(), key) for section, key in re.findall(r'\{ SECTION_(\w+), "(\w+)", set_',
                                                                  c.read('daemon/config/config-keys.c'))}
    said = set()
    section = ''
    for line in c.read('man/dmaheapd.conf.5.scd').splitlines():
        if line.startswith('# '):
            section = re.sub(r'^# \[?(\w+).*', r'\1', line)
        elif re.fullmatch(r'(\*\w+=\*(, )?)+', line):
            said |= {(section, key) for key in re.findall(r'\*(\w+)=\*', line)}
    if len(keys) < 10:
        c.fault('too few keys found in daemon/config/config-keys.c: has its form changed?')
    for section, key in sorted(keys - said):
        c.fault(f'man/dmaheapd.conf.5.scd: lacks {key}= in [{section}]')
    for section, key in sorted(said - keys):
        c.fault(f'man/dmaheapd.conf.5.scd: there is no {key}= in [{section}]')


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2

    c = Checker(pathlib.Path(sys.argv[1]))
    source = c.read('daemon/varlink/varlink-io.dmaheapd.Allocator.c')
    check_errors(c, source)
    check_methods(c, source)
    check_fields(c, source)
    check_page(c, source)
    check_words(c, source)
    check_configuration(c)
    for fault in c.faults:
        print(fault)
    return 1 if c.faults else 0


if __name__ == '__main__':
    sys.exit(main())
