# SPDX-License-Identifier: GPL-2.0-only
"""The way from Python to the shell parts of the testbed: the functions door_* of door.sh, each called by its name.

What such a function prints is its result. Progress and errors it prints on standard error itself.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from failure import Failure, Progress
from process import Process, run

TESTBED_FOLDER = Path(__file__).resolve().parent.parent
PROJECT_FOLDER = TESTBED_FOLDER.parent.parent
CACHE = Path("/var/cache/dmaheapd-testbed")


def command(function, *arguments):
    """The command line that calls door_FUNCTION."""
    return ["bash", str(TESTBED_FOLDER / "door.sh"), "yes" if Progress.shown else "no", function, *map(str, arguments)]


def call(function, *arguments):
    """What door_FUNCTION prints. Where it fails it has told why."""
    with Process(*command(function, *arguments), stdout=subprocess.PIPE, text=True) as process:
        printed, _ = process.communicate()
    if process.returncode != 0:
        raise Failure
    return printed


def run_in_build_tree(source, folder, *program, output):
    """Runs a program in the build tree, where 'source' is /src (read-only) and 'folder' is /work. Returns its exit
    status."""
    return run(*command("in_build_tree", source, folder, *program), stdout=output, stderr=subprocess.STDOUT)


@dataclass
class Made:
    """What a machine needs before its own files are known, as paths in the cache."""

    source: Path    # the copy of the project that this run uses
    key: str        # names what of it things are built from
    kernel: Path
    run_tree: Path
    build: Path
    overlay: Path   # the project's files in the machine
    qemu: Path


def make(kernel, build):
    """Makes what is missing for machines with that kernel and build. Whoever calls this needs no other preparation."""
    lines = call("make", kernel, build).splitlines()
    said = {name: Path(value) for name, _, value in (line.partition("=") for line in lines)}
    return Made(**said | {"key": said["key"].name})


def use_source(source):
    """From now on the project is what it is in 'source', for this run and those that it starts, whatever is edited
    meanwhile."""
    os.environ["TESTBED_SOURCE"] = str(source)
