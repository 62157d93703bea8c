# SPDX-License-Identifier: GPL-2.0-only
"""What suites say, counted and told: one line a suite, the slowest ones, and the sum in the very last line."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

N_SLOWEST = 10


@dataclass
class Result:
    label: str
    passed: int
    failed: int
    seconds: float
    details: str = ""   # what is told of a failure


class Report:
    def __init__(self):
        self.results = []

    def add(self, result):
        """Counts the result of a suite, and tells it at once."""
        self.results.append(result)
        print(f"{result.label}: {result.passed} passed, {result.failed} failed ({result.seconds:.0f} s)")
        if result.failed:
            sys.stdout.write(result.details)
        sys.stdout.flush()

    def finish(self):
        """Tells the slowest suites and the sum. Returns the exit status."""
        if len(self.results) > 1:
            slowest = sorted(self.results, key=lambda result: result.seconds, reverse=True)[:N_SLOWEST]
            print("The slowest:")
            for result in slowest:
                print(f"{result.seconds:8.0f} s  {result.label}")
        passed = sum(result.passed for result in self.results)
        failed = sum(result.failed for result in self.results)
        print(f"{passed} passed, {failed} failed", flush=True)
        return 0 if passed and not failed else 1


def read(path):
    return Path(path).read_text(encoding="utf-8", errors="replace") if path else ""


def last_lines(text, count, prefix):
    return "".join(f"{prefix}{line}\n" for line in text.splitlines()[-count:])


def failed_tests(output):
    """The names of the tests that a suite's output says have failed."""
    return [line.removeprefix("not ok ") for line in output.split("\n") if line.startswith("not ok ")]


def suite_result(label, status, seconds, stdout, stderr=None):
    """The result of a suite that prints a plan '1..N', lines 'ok …' and 'not ok …', and 'ran N' at the end.

    Anything that does not add up is a failure. 'stdout' and 'stderr' are the files with its output.
    """
    output = read(stdout)
    lines = output.split("\n")
    passed = sum(line.startswith("ok ") for line in lines)
    not_ok = failed_tests(output)
    failed = len(not_ok)
    plan = re.search(r"(?m)^1\.\.(\d+)$", output)
    planned = int(plan[1]) if plan else 0
    if (status != 0 and not failed) or passed + failed != planned or not planned or f"ran {planned}" not in lines:
        failed += 1
    details = "".join(f"    not ok {name}\n" for name in not_ok)
    details += f"    status {status}; the end of its output:\n"
    details += last_lines(output, 15, "    | ") + last_lines(read(stderr), 150, "    ! ")
    return Result(label, passed, failed, seconds, details)


def check_result(label, status, seconds, stdout):
    """The result of a suite that is one test: a program that has to succeed."""
    return Result(label, int(status == 0), int(status != 0), seconds, last_lines(read(stdout), 120, "    | "))


def meson_result(label, seconds, stdout, planned=None):
    """The result of 'meson test'. What is skipped has not been tested. 'planned' is how many must have passed, if it is
    known."""
    output = read(stdout)
    passed = meson_count(output, "Ok")
    if planned is not None:
        failed = planned - passed
    else:
        failed = sum(meson_count(output, word) for word in ("Fail", "Timeout", "Skipped", "Unexpected Pass"))
    if not passed + failed:
        failed = 1
    return Result(label, passed, failed, seconds, last_lines(output, 120, "    | "))


def meson_count(output, word):
    """The number behind a word in meson's summary."""
    counts = re.findall(rf"(?m)^{word}: *(\d+) *$", output)
    return int(counts[-1]) if counts else 0


def meson_failed_test(output):
    """The name of the first of meson's tests that failed, with what that says of its own tests; None if none did."""
    test = re.search(r"(?m)^ *\d+/\d+ (.+?) +(?:FAIL|TIMEOUT|ERROR)\b", output)
    if not test:
        return None
    # cmocka's words, and those of Python's unittest.
    inner = re.search(r"(?m)^(?:\[  FAILED  \]|FAIL:|ERROR:) ([A-Za-z_]\w*)", output)
    return test[1] + (f": {inner[1]}" if inner else "")
