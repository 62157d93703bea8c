# SPDX-License-Identifier: GPL-2.0-only
"""The suites of the host: they need the build tree, but no machine of their own.

Each is a function that takes the project's source and a folder to work in, and yields the results of one suite or more.
"""

import contextlib
import fcntl
import subprocess
import sys
import time
from pathlib import Path

import door
import report
from process import run

SHELL_SCRIPTS = ("tests/testbed tests/testbed.d/*.sh tests/testbed.d/guest/configure tests/vm/*.sh tests/bench/*.sh "
                 ".ci/run")
FORMATTED = "daemon client tests/unit tests/fuzz tests/bench"


class Stopwatch:
    def __init__(self):
        self.begun = time.monotonic()

    def seconds(self):
        return time.monotonic() - self.begun


@contextlib.contextmanager
def lock(name):
    """Another run waits meanwhile: the tests of one build use one folder."""
    with open(door.CACHE / "locks" / name, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def in_build_tree(source, folder, *program, output):
    """Runs a program in the build tree, its output in the file 'output'. Returns its exit status."""
    with open(output, "wb") as file:
        return door.run_in_build_tree(source, folder, *program, output=file)


def program(label, folder, *command):
    """The result of a suite that is a program, and prints what a suite in a machine prints."""
    watch, output = Stopwatch(), folder / label
    with open(output, "wb") as file:
        status = run(*map(str, command), stdout=file, stderr=subprocess.STDOUT)
    return report.suite_result(label, status, watch.seconds(), output)


def shell_check(source, folder):
    """shellcheck of our own scripts, as one test."""
    watch, output = Stopwatch(), folder / "shellcheck"
    status = in_build_tree(source, folder, "sh", "-c", f"cd /src && shellcheck -x {SHELL_SCRIPTS}", output=output)
    yield report.check_result("shellcheck", status, watch.seconds(), output)


def clang_format(source, folder):
    """Whether clang-format would leave the C files as they are, as one test."""
    watch, output = Stopwatch(), folder / "format"
    find = f"find {FORMATTED} -name '*.[ch]' -print0"
    status = in_build_tree(source, folder, "sh", "-c", f"cd /src && {find} | xargs -0 clang-format --dry-run -Werror",
                           output=output)
    yield report.check_result("format", status, watch.seconds(), output)


def unit(source, folder, kinds=("release", "sanitize")):
    """What meson knows as tests, in each kind of build that differs for them."""
    for kind in kinds:
        watch, output = Stopwatch(), folder / f"unit-{kind}"
        build = Path(door.call("build", kind, source).strip())
        if not (build / "build").is_dir():
            continue
        with lock(f"unit-{kind}"):
            in_build_tree(source, build, "env", "CCACHE_DIR=/cache", "meson", "test", "-C", "/work/build",
                          "--timeout-multiplier", "6", "--print-errorlogs", output=output)
        yield report.meson_result(f"unit ({kind})", watch.seconds(), output)


def fuzz(source, folder):
    """The fuzzers, a test each. A crash, a leak or a hang is a failure, and its input is told."""
    watch, output = Stopwatch(), folder / "fuzz"
    n_fuzzers = len(list((source / "tests/fuzz").glob("fuzz-*.c")))
    build = Path(door.call("fuzzers", source).strip())
    with lock("fuzz"):
        in_build_tree(source, build, "meson", "test", "-C", "/work/build", "--no-rebuild", "--suite", "fuzz",
                      "--num-processes", str(n_fuzzers), "--print-errorlogs", output=output)
    yield report.meson_result("fuzz", watch.seconds(), output, planned=n_fuzzers)


def module_build(source, folder):
    """The modules, built for each kernel that they are meant for (module-build.sh)."""
    work = folder / "module-work"
    work.mkdir()
    yield program("module-build", folder, *door.command("module_build", source, work))


def testbed(_, folder):
    """The testbed's own parts in Python (test_testbed.py)."""
    yield program("testbed", folder, sys.executable, "-B", door.TESTBED_FOLDER / "test_testbed.py")


def contract(_, folder):
    """What is promised of 'exec' (contract.sh)."""
    yield program("contract", folder, door.TESTBED_FOLDER / "contract.sh", door.PROJECT_FOLDER / "tests/testbed")


SUITES = {
    "shellcheck": shell_check,
    "format": clang_format,
    "testbed": testbed,
    "unit": unit,
    "fuzz": fuzz,
    "module-build": module_build,
    "contract": contract,
}
