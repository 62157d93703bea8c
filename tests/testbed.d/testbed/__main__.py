# SPDX-License-Identifier: GPL-2.0-only
"""The testbed's commands. This file picks one, and turns failures and signals into exit statuses.

Each file here is one noun: options, suites, jobs, report, machine, and so on. What is made once and kept (trees,
kernels, builds) is made by the shell parts in the folder above, which door.py calls."""

import signal
import sys
import traceback

import commands
import mutants
from failure import EXIT_TESTBED, Failure, tell

USAGE = """\
tests/testbed demo                 set up what is missing, build, boot, and show the main job being done
tests/testbed test [SUITE…]        the same, then every test; ends with the line 'N passed, N failed'
tests/testbed exec [--kernel NAME] [--append CMDLINE] [--memory SIZE] [--timeout SECONDS]
                   [--enable UNIT]… [--add SRC:DST]… [--build KIND] SCRIPT [FILE…]
                                   run SCRIPT as root in a fresh machine with the project installed
tests/testbed bench [NAME…]        every benchmark, one line a figure, 'NAME: VALUE (budget B)'
tests/testbed shell [OPTIONS]      a login on a fresh machine (the options are those of exec)
tests/testbed mutants [NAME…]      plant each fault of tests/mutants, and tell which test sees it; takes hours

Kernels: stock (default), upstream, tristate, debug, lts. Builds: release (default), sanitize, hooks.
What is made is kept in /var/cache/dmaheapd-testbed, which may be deleted at any time.
"""

COMMANDS = {
    "demo": commands.demo,
    "test": commands.test,
    "exec": commands.execute,
    "bench": commands.bench,
    "shell": commands.shell,
    "mutants": mutants.run,
}


def end_on_signals():
    """Makes the usual signals an orderly exit. A signal that the caller has set to be ignored stays ignored."""
    statuses = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 143}

    def end(number, _):
        # Cleaning up takes a moment, in which a second signal must not end it.
        for other in statuses:
            signal.signal(other, signal.SIG_IGN)
        sys.exit(statuses[number])

    for number in statuses:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


def main(arguments):
    if sys.version_info < (3, 11):
        tell(f"needs Python 3.11, and this is {sys.version.split()[0]}")
        return EXIT_TESTBED
    if arguments[:1] in (["-h"], ["--help"], ["help"]):
        sys.stdout.write(USAGE)
        return 0
    if not arguments or arguments[0] not in COMMANDS:
        sys.stderr.write(USAGE)
        return 2
    end_on_signals()
    try:
        return COMMANDS[arguments[0]](arguments[1:])
    except Failure as failure:
        if str(failure):
            tell(str(failure))
    except Exception:  # pylint: disable=broad-except
        tell("failed:\n" + traceback.format_exc())
    return EXIT_TESTBED


sys.exit(main(sys.argv[1:]))
