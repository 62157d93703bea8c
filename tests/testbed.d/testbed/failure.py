# SPDX-License-Identifier: GPL-2.0-only
"""Failures of the testbed itself, and what it tells of its work on standard error."""

import sys

EXIT_TESTBED = 125


class Failure(Exception):
    """The testbed itself has failed, for the reason given; an empty one if it has been told already. Ends the run with
    125."""


class Progress:
    """Whether the testbed tells what it is doing: 'exec' prints nothing but what its script prints, unless a person
    looks on."""

    shown = False


def tell(text):
    print("testbed:", text, file=sys.stderr, flush=True)


def tell_progress(text):
    if Progress.shown:
        tell(text)
