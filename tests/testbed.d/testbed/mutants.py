# SPDX-License-Identifier: GPL-2.0-only
"""Faults that are planted to see whether the tests see them: 'tests/testbed mutants'.

A mutant is a file tests/mutants/NAME.patch. Its first lines say 'Fault:' (one sentence), 'Suites:' (the suites to run,
in this order; 'unit' is meson's tests of the release build) and 'Seen by:' (the test that saw it when it was written);
then comes the patch. Each mutant runs in a process of its own. Its copy of the project's source loses the fault
afterwards and serves the next mutant, so that little has to be compiled.

A fault counts as seen only when a test says so. A build that fails, or a machine that dies, is an error, and not a
test.
"""

import contextlib
import fcntl
import itertools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import commands
import door
import jobs
import report
import suites
from failure import Failure, Progress

FOLDER = door.PROJECT_FOLDER / "tests/mutants"
# So many of a hundred have to be seen.
PERCENT_WANTED = 95

SEEN, NOT_SEEN, ERROR = 0, 1, 3


@dataclass
class Mutant:
    name: str
    fault: str
    suites: list
    trees: Path = None  # where copies of the source are kept, for a process that runs it

    @property
    def label(self):
        return self.name

    def command(self):
        """The command line of the process that runs this one mutant (run_one())."""
        return [sys.executable, "-IB", str(Path(__file__).parent), "mutants", "--one", self.name, str(self.trees)]

    def patch(self, source, *options):
        """Applies the patch to a copy of the source, or raises Failure."""
        command = ["patch", "--batch", "--no-backup-if-mismatch", "--strip=1", "--directory", source,
                   "--input", FOLDER / f"{self.name}.patch", *options]
        done = subprocess.run(command, text=True, capture_output=True, check=False)
        if done.returncode != 0:
            raise Failure(f"the patch does not apply: {' '.join(done.stdout.split())}")


def read(name):
    """The mutant of that name. Raises Failure where its first lines are not as they should be."""
    path = FOLDER / f"{name}.patch"
    if not path.is_file():
        raise Failure(f"there is no mutant '{name}'")
    head, _, _ = path.read_text(encoding="utf-8").partition("\ndiff ")
    fields = dict(re.findall(r"(?m)^(Fault|Suites|Seen by): *(.+)$", head))
    for field in ("Fault", "Suites", "Seen by"):
        if field not in fields:
            raise Failure(f"{path}: has no line '{field}:'")
    mutant = Mutant(name, fields["Fault"], fields["Suites"].replace(",", " ").split())
    suites.choose(suites.tests(), [suite for suite in mutant.suites if suite != "unit"])
    return mutant


def run(arguments):
    """The command: the mutants of these names, or all. Several run at once, as machines do."""
    Progress.shown = True
    if arguments[:1] == ["--one"]:
        return run_one(read(arguments[1]), Path(arguments[2]))
    names = arguments or sorted(path.stem for path in FOLDER.glob("*.patch"))
    if not names:
        raise Failure(f"there are no mutants in {FOLDER}")
    chosen = [read(name) for name in names]
    made = door.make("stock", "release")
    outcomes = {}
    with commands.work_folder() as folder:
        door.use_source(made.source)
        for mutant in chosen:
            mutant.trees = folder
        with contextlib.closing(jobs.run(chosen, folder, jobs.machines_at_once())) as runs:
            for one in runs:
                outcomes[one.job.name] = one.status
                tell_outcome(one)
    return tell_sum(chosen, outcomes)


def tell_outcome(one):
    """Prints what a mutant's process has found out. What that process has told besides is of use only after an
    error."""
    said = report.read(one.stdout).strip()
    if one.status not in (SEEN, NOT_SEEN) or not said:
        said = (f"{said or one.job.name + ': ERROR'}\n"
                + report.last_lines(report.read(one.stderr), 40, "    ! ").rstrip())
    print(said, flush=True)


def tell_sum(chosen, outcomes):
    n_seen = sum(outcomes[mutant.name] == SEEN for mutant in chosen)
    percent = 100 * n_seen / len(chosen)
    for mutant in chosen:
        if outcomes[mutant.name] != SEEN:
            what = "not seen" if outcomes[mutant.name] == NOT_SEEN else "error"
            print(f"    {what}: {mutant.name}: {mutant.fault}")
    print(f"{n_seen} of {len(chosen)} seen ({percent:.0f} %)", flush=True)
    had_errors = any(status not in (SEEN, NOT_SEEN) for status in outcomes.values())
    return 1 if had_errors or percent < PERCENT_WANTED else 0


# One mutant, in a process of its own

def run_one(mutant, trees):
    """Runs the mutant's suites until one sees its fault; prints one line. Returns SEEN, NOT_SEEN or ERROR."""
    Progress.shown = False
    errors = []
    try:
        with planted(mutant, trees) as tree:
            for name in mutant.suites:
                look = look_in_unit if name == "unit" else look_in_machines
                test, error = look(name, tree)
                if test:
                    print(f"{mutant.name}: seen by {name}: {test}")
                    return SEEN
                errors += [f"{name}: {error}"] if error else []
    except Failure as failure:
        errors.append(str(failure) or "the project with the fault cannot be built")
    if errors:
        print(f"{mutant.name}: ERROR: {'; '.join(errors)}")
        return ERROR
    print(f"{mutant.name}: NOT SEEN")
    return NOT_SEEN


@contextlib.contextmanager
def free_tree(trees):
    """A folder that no other mutant uses meanwhile."""
    for n in itertools.count(1):
        tree = trees / f"tree-{n}"
        tree.mkdir(exist_ok=True)
        with open(trees / f"tree-{n}.lock", "w", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield tree
            return


@contextlib.contextmanager
def planted(mutant, trees):
    """A folder whose source/ is a copy of the project's source that has the fault within this context."""
    untouched = os.environ["TESTBED_SOURCE"]
    with free_tree(trees) as tree:
        source = tree / "source"
        if not source.exists():
            shutil.copytree(untouched, source, symlinks=True)
        mutant.patch(source, "--forward", "--dry-run")
        mutant.patch(source, "--forward")
        door.use_source(source)
        try:
            yield tree
        finally:
            # The restored files are newer than what was compiled of them, so the next mutant compiles them again.
            mutant.patch(source, "--reverse")
            door.use_source(untouched)


def look_in_unit(_, tree):
    """The first of meson's tests that fails, or None; and what went wrong if no test can be blamed for it, or None.

    The suite 'mutants' is left out: it would see each fault, since the patch does not apply a second time."""
    door.call("unit_build", tree / "source", tree)
    output = tree / "unit"
    with open(output, "wb") as file:
        # meson builds what only tests need.
        door.run_in_build_tree(tree / "source", tree, "env", "CCACHE_DIR=/cache", "meson", "test", "-C", "/work/build",
                               "--timeout-multiplier", "6", "--no-suite", "mutants", "--maxfail", "1",
                               "--print-errorlogs", output=file)
    printed = report.read(output)
    test = report.meson_failed_test(printed)
    if test is None and not report.meson_count(printed, "Ok"):
        return None, f"meson ran no tests: {report.last_lines(printed, 1, '').strip()}"
    return test, None


def look_in_machines(name, tree):
    """The first test of a suite that fails, or None; and what went wrong if no test can be blamed for it, or None."""
    error, made = None, []
    try:
        for job in suites.tests(tree / "source")[name].jobs():
            made.append(door.make(job.kernel, job.build))
            with contextlib.closing(jobs.run([job], tree, 1)) as runs:
                (one,) = runs
            if failed := report.failed_tests(report.read(one.stdout)):
                return re.sub(r" \([\d.]+ s\)$", "", failed[0]), None  # without the test's time
            if report.suite_result(one.job.label, one.status, one.seconds, one.stdout, one.stderr).failed:
                error = f"status {one.status}: {report.last_lines(report.read(one.stderr), 1, '').strip()}"
        return None, error
    finally:
        # Nobody will want a build with a fault again.
        for path in {path for one in made for path in (one.build, one.overlay)}:
            shutil.rmtree(path, ignore_errors=True)
