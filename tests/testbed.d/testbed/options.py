# SPDX-License-Identifier: GPL-2.0-only
"""The options of 'exec' and 'shell': what a machine is like."""

import os
import re
from dataclasses import dataclass, field

from failure import Failure

BUILDS = ("release", "sanitize", "hooks")


@dataclass
class Options:
    kernel: str = "stock"
    build: str = "release"
    append: str = ""        # added to the kernel's command line
    memory: str = "2048"    # as QEMU has it: MiB, or a number with a suffix
    timeout: str = "600"    # seconds that the script may take
    enable: list = field(default_factory=list)  # units
    add: list = field(default_factory=list)     # 'SRC:DST'

    def set(self, name, value):
        """Takes one option, as it stands on the command line. Raises Failure for one that there is not."""
        match name:
            case "--kernel" | "--build" | "--memory" | "--timeout":
                setattr(self, name[2:], value)
            case "--append":
                self.append += " " + value
            case "--enable":
                self.enable.append(value)
            case "--add":
                self.add.append(value)
            case _:
                raise Failure(f"unknown option {name}")

    def check(self):
        """Refuses what cannot work, before any work is done."""
        if not re.fullmatch(r"[1-9][0-9]*", self.timeout):
            raise Failure(f"--timeout {self.timeout}: not a number of seconds")
        if not re.fullmatch(r"[1-9][0-9]*[KMGkmg]?", self.memory):
            raise Failure(f"--memory {self.memory}: not a size")
        if self.build not in BUILDS:
            raise Failure(f"there is no build '{self.build}' (there are: {', '.join(BUILDS)})")
        for add in self.add:
            source, _, target = add.rpartition(":")
            if not source or not target.startswith("/"):
                raise Failure(f"--add {add}: not SRC:/DST")
            if not os.path.exists(source):
                raise Failure(f"--add {source}: no such file or folder")


def parse(arguments):
    """The options at the beginning of 'arguments', checked, and the arguments that are left: '--NAME VALUE' or
    '--NAME=VALUE'."""
    options, rest = Options(), list(arguments)
    while rest and rest[0].startswith("--"):
        name, equals, value = rest.pop(0).partition("=")
        if name == "--" and not equals:
            break
        if not equals:
            if not rest:
                raise Failure(f"{name} needs a value")
            value = rest.pop(0)
        options.set(name, value)
    options.check()
    return options, rest
