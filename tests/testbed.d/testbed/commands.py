# SPDX-License-Identifier: GPL-2.0-only
"""The commands of the testbed. Each takes its arguments and returns the exit status."""

import contextlib
import os
import re
import sys
import tempfile
from pathlib import Path

import door
import host_suites
import jobs
import options
import report
import suites
from failure import Failure, Progress, tell, tell_progress
from machine import Machine
from process import run


def execute(arguments):
    """'exec': one machine, one script."""
    Progress.shown = sys.stderr.isatty()
    chosen, files = options.parse(arguments)
    if not files:
        raise Failure("exec needs a script")
    for file in files:
        if not os.access(file, os.R_OK):
            raise Failure(f"{file}: no such file")
    if not os.path.isfile(files[0]):
        raise Failure(f"{files[0]}: not a file")
    return run_script(chosen, files)


def run_script(chosen, files):
    made = door.make(chosen.kernel, chosen.build)
    with Machine(made, chosen, files) as machine:
        tell_progress("booting")
        return machine.run()


def shell(arguments):
    """One machine, one login."""
    Progress.shown = True
    chosen, rest = options.parse(arguments)
    if rest:
        raise Failure("shell takes options only")
    made = door.make(chosen.kernel, chosen.build)
    chosen.add.append(f"{door.TESTBED_FOLDER}/testbed-login.service:/etc/systemd/system/testbed-login.service")
    chosen.enable.append("testbed-login.service")
    with Machine(made, chosen) as machine:
        tell_progress("booting; log out with 'poweroff', or leave with Ctrl-A X")
        return machine.log_in()


def demo(arguments):
    """The main job being done, in a machine."""
    Progress.shown = True
    if arguments:
        raise Failure("demo takes no arguments")
    chosen, _ = options.parse(["--append", "cma=64M"])
    return run_script(chosen, [str(door.PROJECT_FOLDER / "tests/vm/demo.sh")])


@contextlib.contextmanager
def work_folder():
    """A folder that goes in the end. Whoever tells us to end by a signal is told that we heard it."""
    try:
        with tempfile.TemporaryDirectory(prefix="testbed-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except SystemExit as end:
        if end.code == 143:
            tell("told to end by a signal")
        raise


def test(arguments):
    """The suites of these names; without names, all that are not long."""
    Progress.shown = True
    on_host = [name for name in arguments if name in host_suites.SUITES] if arguments else list(host_suites.SUITES)
    in_machines = [name for name in arguments if name not in host_suites.SUITES]
    if in_machines or not arguments:
        in_machines = suites.choose(suites.tests(), in_machines)
    made = door.make("stock", "release")
    door.use_source(made.source)
    found = suites.tests(made.source)
    waiting = [job for name in in_machines for job in found[name].jobs()]
    told = report.Report()
    with work_folder() as folder:
        jobs.make_ready(waiting)
        for name in on_host:
            for result in host_suites.SUITES[name](made.source, folder):
                told.add(result)
        with contextlib.closing(jobs.run(waiting, folder, jobs.machines_at_once())) as runs:
            for one in runs:
                told.add(report.suite_result(one.job.label, one.status, one.seconds, one.stdout, one.stderr))
    return told.finish()


def bench(arguments):
    """The benchmarks of these names, or all, one after the other, since they measure."""
    Progress.shown = True
    names = suites.choose(suites.benchmarks(), arguments)
    made = door.make("stock", "release")
    door.use_source(made.source)
    found = suites.benchmarks(made.source)
    on_host = [found[name] for name in names if found[name].host_kernels() is not None]
    waiting = [job for name in names if found[name] not in on_host for job in found[name].jobs()]
    failed = 0
    with work_folder() as folder:
        jobs.make_ready(waiting)
        with contextlib.closing(jobs.run(waiting, folder, 1)) as runs:
            for one in runs:
                failed += tell_figures(one.job.label, one.status, one.stdout, one.stderr)
        for suite in on_host:
            failed += bench_on_host(suite, folder)
    return 1 if failed else 0


def bench_on_host(suite, folder):
    """Runs a benchmark that compares machines, and so runs here. Returns the number of failures."""
    for kernel in suite.host_kernels():
        door.make(kernel, "release")
    tell_progress(f"running {suite.name}")
    stdout, stderr = folder / "host.out", folder / "host.err"
    with open(stdout, "wb") as out, open(stderr, "wb") as err:
        status = run("bash", str(suite.path), stdout=out, stderr=err)
    return tell_figures(suite.name, status, stdout, stderr)


def tell_figures(label, status, stdout, stderr):
    """Prints a benchmark's figures, which are lines 'NAME: VALUE (budget B)'. Returns the number of failures."""
    for line in report.read(stdout).splitlines():
        if re.fullmatch(r"[^ ].*: .* \(budget .*\)", line):
            print(line, flush=True)
    if status == 0:
        return 0
    tell(f"{label}: status {status}")
    sys.stderr.write(report.last_lines(report.read(stderr), 60, ""))
    sys.stderr.flush()
    return 1
