# SPDX-License-Identifier: GPL-2.0-only
"""The suites that run in machines, and what their heads say.

A suite is a script in tests/vm (a benchmark one in tests/bench) whose lines '# testbed: …' say in which machines it
runs: one line a machine, or several where it names several kernels or builds. A line '# testbed+ …' continues the one
before it. See tests/vm/lib/vmtest.py."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import door
from failure import Failure
from jobs import Job

N_HEAD_LINES = 60
HEAD = "# testbed:"
CONTINUED = "# testbed+"


@dataclass
class Suite:
    name: str
    path: Path

    def head(self):
        """The words of each line of the head; of one without any, a line without words. Raises Failure for a line that
        continues none."""
        found = []
        with open(self.path, encoding="utf-8") as file:
            for _, line in zip(range(N_HEAD_LINES), file):
                if line.startswith(HEAD):
                    found.append(shlex.split(line.removeprefix(HEAD)))
                elif line.startswith(CONTINUED):
                    if not found:
                        raise Failure(f"{self.path}: the first line '{CONTINUED}' has no line '{HEAD}' before it")
                    found[-1] += shlex.split(line.removeprefix(CONTINUED))
        return found or [[]]

    def is_long(self):
        return any("long" in words for words in self.head())

    def host_kernels(self):
        """A benchmark that compares machines runs on the host: the kernels of its line 'host kernel=NAME,…'; None for
        others."""
        for words in self.head():
            if words[:1] == ["host"]:
                return [kernel for word in words[1:] for kernel in word.removeprefix("kernel=").split(",")]
        return None

    def jobs(self):
        """A Job for each machine that the head wants."""
        # The word 'long' may have a line of its own.
        return [job for words in self.head() if words != ["long"] for job in self.line_jobs(words)]

    def line_jobs(self, words):
        kernels, builds, options, files, label, times = ["stock"], ["release"], [], [], "", 1
        for word in words:
            name, _, value = word.partition("=")
            match name:
                case "long":
                    pass
                case "kernel":
                    kernels = value.split(",")
                case "build":
                    builds = value.split(",")
                case "append":
                    options += ["--append", value]
                    label += ", " + value
                case "times":
                    times = int(value)
                case "memory" | "timeout":
                    options += ["--" + name, value]
                case "enable":
                    for unit in value.split(","):
                        options += ["--enable", unit]
                        label += ", " + unit
                case "foreign":
                    options += ["--add", f"{door.call('foreign_tree').strip()}:{value}"]
                    label += ", programs of others"
                case "add":
                    options += ["--add", f"{self.path.parent}/{value}"]
                case "files":
                    files += [str(self.path.parent / file) for file in value.split(",")]
                case _:
                    raise Failure(f"{self.path}: what does '{word}' mean?")
        return [Job(f"{self.name} ({kernel}, {build}{label})", kernel, build, (*options, str(self.path), *files))
                for kernel in kernels for build in builds for _ in range(times)]


def tests(project=door.PROJECT_FOLDER):
    """The suites of tests/vm by name: test_foo_bar.py is 'foo-bar'."""
    return suites_in(project / "tests/vm", "test_")


def benchmarks(project=door.PROJECT_FOLDER):
    return suites_in(project / "tests/bench", "")


def suites_in(folder, prefix):
    paths = sorted(folder.glob(prefix + "*"))
    found = [Suite(path.stem.removeprefix(prefix).replace("_", "-"), path)
             for path in paths if path.suffix in (".py", ".sh")]
    return {suite.name: suite for suite in found}


def choose(suites, names):
    """The names of suites that are meant by these; by none, all that are not long. Raises Failure for one that there is
    not."""
    if not names:
        return [suite.name for suite in suites.values() if not suite.is_long()]
    for name in names:
        if name not in suites:
            raise Failure(f"there is no suite '{name}'")
    return names
