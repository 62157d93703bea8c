#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""The suite 'testbed': the testbed's own parts in Python, without a machine. The emulator is a script that does what it
is told.

The harness is that of the suites in machines (tests/vm/lib)."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

TESTBED = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTBED / "testbed"), str(TESTBED.parent / "vm/lib")]

# pylint: disable=wrong-import-position
import door
import jobs
import machine
import mutants
import options
import report
import suites
import vmtest
from failure import EXIT_TESTBED, Failure


class FolderTest(unittest.TestCase):
    """Tests with a folder of their own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


class OptionsTest(unittest.TestCase):
    def test_options_end_at_the_first_argument_that_is_none(self):
        chosen, rest = options.parse(["--kernel", "lts", "--append=cma=64M", "--append", "quiet=1",
                                      "script", "--kernel", "debug"])
        self.assertEqual((chosen.kernel, chosen.append), ("lts", " cma=64M quiet=1"))
        self.assertEqual(rest, ["script", "--kernel", "debug"])

    def test_two_dashes_end_the_options(self):
        self.assertEqual(options.parse(["--memory", "3072", "--", "--script"])[1], ["--script"])

    def test_what_cannot_work_is_refused(self):
        for arguments in (["--nonesuch", "1"], ["--kernel"], ["--timeout", "0"], ["--timeout", "5s"],
                          ["--memory", "many"], ["--build", "debug"], ["--add", "/etc"], ["--add", "/etc:etc"],
                          ["--add", "/nonesuch:/etc"]):
            with self.subTest(arguments=arguments), self.assertRaises(Failure):
                options.parse(arguments)


class SuiteTest(FolderTest):
    def suite(self, head):
        return suites.Suite("some", self.write("test_some.py", head))

    def test_each_pair_of_kernel_and_build_is_a_machine(self):
        found = self.suite('#!x\n# testbed: kernel=stock,lts build=release,hooks append="a=1 b=2" memory=3072\n').jobs()
        self.assertEqual([(job.kernel, job.build) for job in found],
                         [("stock", "release"), ("stock", "hooks"), ("lts", "release"), ("lts", "hooks")])
        self.assertEqual(found[0].label, "some (stock, release, a=1 b=2)")
        self.assertEqual(found[0].arguments,
                         ("--append", "a=1 b=2", "--memory", "3072", str(self.folder / "test_some.py")))

    def test_a_line_may_be_continued(self):
        one, other = self.suite('# testbed: kernel=lts\n# testbed+ append="a=1 b=2"\n# testbed+ memory=3072\n'
                                "# testbed: build=hooks\n").jobs()
        self.assertEqual((one.kernel, one.build), ("lts", "release"))
        self.assertEqual(one.arguments,
                         ("--append", "a=1 b=2", "--memory", "3072", str(self.folder / "test_some.py")))
        self.assertEqual((other.kernel, other.build), ("stock", "hooks"))
        self.assertEqual(other.arguments, (str(self.folder / "test_some.py"),))

    def test_a_line_that_continues_none_is_an_error(self):
        with self.assertRaisesRegex(Failure, "the first line '# testbed[+]' has no line '# testbed:' before it"):
            self.suite("# testbed+ kernel=lts\n# testbed: build=hooks\n").jobs()

    def test_files_come_behind_the_script(self):
        (job,) = self.suite("# testbed: files=one,../two enable=a.service,b.service\n").jobs()
        self.assertEqual(job.arguments, ("--enable", "a.service", "--enable", "b.service",
                                         str(self.folder / "test_some.py"), str(self.folder / "one"),
                                         str(self.folder / "../two")))
        self.assertEqual(job.label, "some (stock, release, a.service, b.service)")

    def test_a_head_without_a_line_means_one_ordinary_machine(self):
        (job,) = self.suite("import os\n").jobs()
        self.assertEqual((job.kernel, job.build), ("stock", "release"))

    def test_times_makes_several_of_one_line(self):
        self.assertEqual(len(self.suite("# testbed: times=20\n").jobs()), 20)

    def test_a_long_suite_runs_by_name_only(self):
        suite = self.suite("# testbed: long\n# testbed: kernel=lts\n")
        self.assertEqual(len(suite.jobs()), 1)
        self.assertEqual(suites.choose({"some": suite}, []), [])
        self.assertEqual(suites.choose({"some": suite}, ["some"]), ["some"])

    def test_a_word_without_a_meaning_is_an_error(self):
        with self.assertRaisesRegex(Failure, "what does 'kernels=stock' mean"):
            self.suite("# testbed: kernels=stock\n").jobs()

    def test_a_suite_is_named_after_its_file(self):
        self.write("tests/vm/test_foo_bar.py", "")
        self.write("tests/vm/demo.sh", "")
        self.assertEqual(list(suites.tests(self.folder)), ["foo-bar"])


class ReportTest(FolderTest):
    def result(self, output, status=0):
        result = report.suite_result("some", status, 1, self.write("out", output))
        return result.passed, result.failed

    def test_what_adds_up_passes(self):
        self.assertEqual(self.result("1..2\nok one\nnoise\nok two\nran 2\n"), (2, 0))

    def test_each_not_ok_fails(self):
        self.assertEqual(self.result("1..2\nok one\nnot ok two\nran 2\n", 1), (1, 1))

    def test_what_does_not_add_up_fails(self):
        for output, status in (("", 0), ("1..0\nran 0\n", 0), ("1..2\nok one\nran 2\n", 0), ("1..1\nok one\n", 0),
                               ("1..1\nok one\nran 1\n", 125), ("1..1\nok one\nok two\nran 1\n", 0),
                               ("ok one\nran 1\n", 0)):
            with self.subTest(output=output, status=status):
                self.assertGreater(self.result(output, status)[1], 0)

    def test_mesons_summary_is_counted(self):
        output = self.write("out", "Ok:                 12  \nFail:               1   \n"
                                   "Skipped:            2   \nTimeout:            1\n")
        result = report.meson_result("unit", 1, output)
        self.assertEqual((result.passed, result.failed), (12, 4))

    def test_meson_without_a_summary_has_failed(self):
        result = report.meson_result("unit", 1, self.write("out", "meson: not found\n"))
        self.assertEqual((result.passed, result.failed), (0, 1))

    def test_fuzzers_that_did_not_run_have_failed(self):
        result = report.meson_result("fuzz", 1, self.write("out", "Ok:                 3   \n"), planned=5)
        self.assertEqual((result.passed, result.failed), (3, 2))

    def test_the_first_failed_test_of_mesons_is_named(self):
        output = (" 1/9 dmaheapd:unit / quota      OK       0.01s\n"
                  " 2/9 dmaheapd:unit / policy     FAIL     0.02s   exit status 1\n"
                  "[  PASSED  ] 3 test(s).\n[  FAILED  ] 1 test(s), listed below:\n[  FAILED  ] test_deny\n")
        self.assertEqual(report.meson_failed_test(output), "dmaheapd:unit / policy: test_deny")
        self.assertIsNone(report.meson_failed_test(output.replace("FAIL ", "OK   ")))

    def test_the_sum_is_the_last_line_behind_the_slowest(self):
        told = report.Report()
        with contextlib.redirect_stdout(open(self.folder / "told", "w", encoding="utf-8")) as file, file:
            for n in range(12):
                told.add(report.Result(f"suite{n}", 1, 0, n))
            status = told.finish()
        lines = (self.folder / "told").read_text(encoding="utf-8").splitlines()
        self.assertEqual((lines[0], lines[-1], status), ("suite0: 1 passed, 0 failed (0 s)", "12 passed, 0 failed", 0))
        self.assertEqual([line.split()[-1] for line in lines[-11:-1]], [f"suite{n}" for n in range(11, 1, -1)])

    def test_nothing_that_passed_is_a_failure(self):
        with contextlib.redirect_stdout(None):
            self.assertEqual(report.Report().finish(), 1)


# The emulator: it acts on the ports, which are files, and reads what to do from the script that stands in for it.
EMULATOR = """#!/bin/sh
for word; do
        case $word in
        file:*) console=${word#file:} ;;
        file,id=*) port=${word#file,id=}; port=${port%%,*}; eval "$port=${word##*path=}" ;;
        esac
done
n=$(($(cat @COUNT@ 2>/dev/null || echo 0) + 1))
echo $n >@COUNT@
"""


class MachineTest(FolderTest):
    """A Machine whose emulator is a shell script: $stdout, $stderr, $status and $console are its files, $n the number
    of the try."""

    def machine(self, script, **keywords):
        emulator = self.write("qemu/usr/lib64/ld-linux-x86-64.so.2",
                              EMULATOR.replace("@COUNT@", str(self.folder / "count")) + script)
        emulator.chmod(0o755)
        made = door.Made(source=self.folder, key="", kernel=self.folder, run_tree=self.folder, build=self.folder,
                         overlay=self.folder, qemu=self.folder / "qemu")
        for patch in (mock.patch.object(door, "call", return_value=""), mock.patch.object(door, "CACHE", self.folder)):
            patch.start()
            self.addCleanup(patch.stop)
        return machine.Machine(made, options.Options(**keywords))

    def run_machine(self, script, **keywords):
        """What 'exec' of such a machine does: status or Failure, and what was printed."""
        reads, writes = zip(os.pipe(), os.pipe())
        real = machine.Copier
        with mock.patch.object(machine, "Copier", lambda path, fd: real(path, writes[fd - 1])):
            with self.machine(script, **keywords) as one:
                self.run_folder = one.folder
                try:
                    result = one.run()
                except Failure as failure:
                    result = failure
        printed = []
        for fd in writes:
            os.close(fd)
        for fd in reads:
            with open(fd, "rb") as file:
                printed.append(file.read())
        return result, *printed

    def n_tries(self):
        return int((self.folder / "count").read_text(encoding="ascii"))

    def test_output_and_status_are_passed_on(self):
        result = self.run_machine("echo started >$status; printf 'a\\0b' >$stdout; echo c >$stderr; "
                                  "echo exit 7 3 2 >>$status; sleep 60")
        self.assertEqual(result, (7, b"a\0b", b"c\n"))
        self.assertFalse(self.run_folder.exists())

    def test_output_that_comes_after_the_status_is_waited_for(self):
        result = self.run_machine("echo started >$status; echo exit 0 2 0 >>$status; sleep 0.5; "
                                  "echo a >$stdout; sleep 60")
        self.assertEqual(result, (0, b"a\n", b""))

    def test_output_that_is_lost_is_a_failure(self):
        result, stdout, _ = self.run_machine("echo started >$status; echo a >$stdout; echo exit 0 5 0 >>$status")
        self.assertRegex(str(result), "output of the script was lost")
        self.assertEqual(stdout, b"a\n")

    def test_a_status_that_is_half_written_is_not_read(self):
        result = self.run_machine("echo started >$status; printf 'exit 0 0 1' >>$status; sleep 0.5; echo 2 >>$status; "
                                  "printf 123456789012 >$stderr; sleep 60")
        self.assertEqual(result, (0, b"", b"123456789012"))

    def test_a_machine_that_goes_down_before_its_script_gets_other_tries(self):
        result = self.run_machine("[ $n -lt 3 ] || { echo started >$status; echo exit 0 0 0 >>$status; sleep 60; }")
        self.assertEqual((result, self.n_tries()), ((0, b"", b""), 3))

    def test_there_is_an_end_of_tries(self):
        result, _, _ = self.run_machine("echo 'Kernel panic - not syncing: no' >$console")
        self.assertRegex(str(result), r"the machine went down before the script ended: "
                                      r"Kernel panic - not syncing: no \(console: ")
        self.assertEqual(self.n_tries(), 3)
        self.assertTrue((self.run_folder / "console.log").exists() and (self.run_folder / "console.2.log").exists())

    def test_no_other_try_where_our_modules_may_be_to_blame(self):
        self.run_machine("echo 'Tainted: G O' >$console")
        self.assertEqual(self.n_tries(), 1)

    def test_no_other_try_once_the_script_has_begun(self):
        result, stdout, _ = self.run_machine("echo started >$status; echo last words >$stdout; sleep 0.3")
        self.assertRegex(str(result), "went down")
        self.assertEqual((stdout, self.n_tries()), (b"last words\n", 1))

    def test_a_script_that_cannot_run_is_a_failure(self):
        result, _, _ = self.run_machine("echo started >$status; echo failed cannot run it >>$status; sleep 60")
        self.assertRegex(str(result), "^cannot run it ")

    def test_time_that_runs_out_is_a_failure(self):
        result, stdout, _ = self.run_machine("echo started >$status; echo so far >$stdout; sleep 60", timeout="1")
        self.assertRegex(str(result), "the script has not ended after 1 s")
        self.assertEqual(stdout, b"so far\n")

    def test_a_boot_that_hangs_is_a_failure(self):
        with mock.patch.object(machine, "BOOT_TIMEOUT", 1):
            result, _, _ = self.run_machine("sleep 60")
        self.assertRegex(str(result), "the machine was not up after 1 s")
        self.assertEqual(self.n_tries(), 1)

    def test_a_reader_that_has_gone_does_not_matter(self):
        reader, writer = os.pipe()
        os.close(reader)
        copier = machine.Copier(self.write("file", "a"), writer)
        copier.finish()
        os.close(writer)


class JobTest(FolderTest):
    def run_jobs(self, script, count=1, at_once=1):
        """Jobs that run a shell script, $n of which is the number of the try."""
        count_file = self.folder / "count"
        lines = (f"n=$(($(cat {count_file} 2>/dev/null || echo 0) + 1)); echo $n >{count_file}; "
                 f"console={self.folder}/console\n{script}")
        made = [jobs.Job("some", "stock", "release", ()) for _ in range(count)]
        with mock.patch.object(jobs.Job, "command", lambda _: ["sh", "-c", lines]):
            return list(jobs.run(made, self.folder, at_once))

    def n_tries(self):
        return int((self.folder / "count").read_text(encoding="ascii"))

    def test_output_goes_to_files(self):
        (one,) = self.run_jobs("echo out; echo err >&2; exit 3")
        self.assertEqual((one.status, one.stdout.read_bytes(), one.stderr.read_bytes()), (3, b"out\n", b"err\n"))

    def test_so_many_run_at_once(self):
        begun = time.monotonic()
        self.run_jobs("sleep 1", count=4, at_once=4)
        self.assertLess(time.monotonic() - begun, 3.5)

    def test_what_the_emulator_has_failed_runs_again_once(self):
        for said, console in (("anything", "Oops: int3"),
                              ("the machine was not up after 300 s", "watchdog: BUG: soft lockup")):
            with self.subTest(console=console):
                (self.folder / "count").unlink(missing_ok=True)
                (one,) = self.run_jobs(f"echo '{console}' >$console; echo \"{said} (console: $console)\" >&2; "
                                       f"exit {EXIT_TESTBED}")
                self.assertEqual((one.status, self.n_tries()), (EXIT_TESTBED, 2))

    def test_other_failures_do_not_run_again(self):
        for said, console, status in (
                ("the script has not ended after 600 s", "watchdog: BUG: soft lockup", EXIT_TESTBED),
                ("the machine was not up after 300 s", "all is well", EXIT_TESTBED),
                ("anything", "Oops: int3", 1)):
            with self.subTest(said=said, console=console, status=status):
                (self.folder / "count").unlink(missing_ok=True)
                self.run_jobs(f"echo '{console}' >$console; echo \"{said} (console: $console)\" >&2; exit {status}")
                self.assertEqual(self.n_tries(), 1)

    def test_jobs_end_with_whoever_listens_to_them(self):
        def stop():
            script = f"echo $$ >{self.folder}/pid; sleep 60 & wait"
            made = [jobs.Job("some", "stock", "release", ())] * 2
            with mock.patch.object(jobs.Job, "command", lambda _: ["sh", "-c", script]):
                with contextlib.closing(jobs.run(made, self.folder, 1)) as runs:
                    signal.signal(signal.SIGALRM, lambda *_: sys.exit(143))
                    signal.alarm(2)
                    next(runs)

        self.assertRaises(SystemExit, stop)
        pid = int((self.folder / "pid").read_text(encoding="ascii"))
        self.assertFalse(os.path.exists(f"/proc/{pid}"))


PATCH = """Fault: what was one is two.
Suites: unit daemon-allocate
Seen by: unit
diff --git a/file b/file
--- a/file
+++ b/file
@@ -1 +1 @@
-one
+two
"""


class MutantTest(FolderTest):
    def setUp(self):
        super().setUp()
        patch = mock.patch.object(mutants, "FOLDER", self.folder)
        patch.start()
        self.addCleanup(patch.stop)

    def mutant(self, text=PATCH):
        self.write("some.patch", text)
        return mutants.read("some")

    def test_the_first_lines_are_read(self):
        mutant = self.mutant()
        self.assertEqual((mutant.fault, mutant.suites), ("what was one is two.", ["unit", "daemon-allocate"]))

    def test_a_line_that_is_missing_is_an_error(self):
        for field in ("Fault", "Suites", "Seen by"):
            with self.subTest(field=field), self.assertRaisesRegex(Failure, f"has no line '{field}:'"):
                self.mutant(PATCH.replace(field, "Else"))

    def test_a_suite_that_there_is_not_is_an_error(self):
        with self.assertRaisesRegex(Failure, "there is no suite 'nonesuch'"):
            self.mutant(PATCH.replace("daemon-allocate", "nonesuch"))

    def plant(self, text="one\n"):
        """A mutant, and the project's source, which has one file with that text."""
        original = self.write("original/file", text)
        self.enterContext(mock.patch.dict(os.environ, TESTBED_SOURCE=str(original.parent)))
        return self.mutant(), original

    def test_the_fault_is_in_a_copy_and_only_for_a_while(self):
        mutant, original = self.plant()
        with mutants.planted(mutant, self.folder) as tree:
            self.assertEqual((tree / "source/file").read_text(encoding="ascii"), "two\n")
            self.assertEqual(os.environ["TESTBED_SOURCE"], str(tree / "source"))
        self.assertEqual((tree / "source/file").read_text(encoding="ascii"), "one\n")
        self.assertEqual(original.read_text(encoding="ascii"), "one\n")

    def test_mutants_at_the_same_time_have_copies_of_their_own(self):
        mutant, _ = self.plant()
        with mutants.planted(mutant, self.folder) as first:
            os.environ["TESTBED_SOURCE"] = str(self.folder / "original")
            with mutants.planted(mutant, self.folder) as second:
                self.assertNotEqual(first, second)

    def test_a_patch_that_does_not_apply_is_an_error(self):
        mutant, _ = self.plant("three\n")
        with contextlib.redirect_stdout(open(self.folder / "told", "w", encoding="utf-8")) as file, file:
            self.assertEqual(mutants.run_one(mutant, self.folder), mutants.ERROR)
        self.assertRegex((self.folder / "told").read_text(encoding="utf-8"), "^some: ERROR: the patch does not apply: ")

    def look(self, unit, machines):
        """Status and line of a mutant of which its suites say that."""
        mutant, _ = self.plant()
        with (mock.patch.object(mutants, "look_in_unit", return_value=unit),
              mock.patch.object(mutants, "look_in_machines", return_value=machines),
              contextlib.redirect_stdout(open(self.folder / "told", "w", encoding="utf-8")) as file, file):
            status = mutants.run_one(mutant, self.folder)
        return status, (self.folder / "told").read_text(encoding="utf-8")

    def test_the_first_suite_that_sees_it_is_named(self):
        self.assertEqual(self.look(("quota", None), ("Other.test", None)),
                         (mutants.SEEN, "some: seen by unit: quota\n"))
        self.assertEqual(self.look((None, None), ("A.test", None)),
                         (mutants.SEEN, "some: seen by daemon-allocate: A.test\n"))

    def test_what_no_test_sees_is_told(self):
        self.assertEqual(self.look((None, None), (None, None)), (mutants.NOT_SEEN, "some: NOT SEEN\n"))

    def test_a_machine_that_died_has_seen_nothing(self):
        status, line = self.look((None, None), (None, "status 125: it went down"))
        self.assertEqual((status, line), (mutants.ERROR, "some: ERROR: daemon-allocate: status 125: it went down\n"))

    def test_the_sum(self):
        chosen = [mutants.Mutant(str(n), "a fault", []) for n in range(20)]
        for bad, status in (({}, 0), ({"0": mutants.NOT_SEEN}, 0), ({"0": mutants.NOT_SEEN, "1": mutants.NOT_SEEN}, 1),
                            ({"0": mutants.ERROR}, 1), ({"0": 125}, 1)):
            with self.subTest(bad=bad), contextlib.redirect_stdout(None):
                outcomes = {mutant.name: mutants.SEEN for mutant in chosen} | bad
                self.assertEqual(mutants.tell_sum(chosen, outcomes), status)


class CommandTest(unittest.TestCase):
    """The command itself, as far as it needs no machine."""

    def run_testbed(self, *arguments):
        done = subprocess.run([TESTBED.parent / "testbed", *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def test_help_lists_the_commands(self):
        status, stdout, _ = self.run_testbed("help")
        self.assertEqual(status, 0)
        for command in ("demo", "test", "exec", "bench", "shell", "mutants"):
            self.assertIn(f"tests/testbed {command} ", stdout)

    def test_without_a_command_it_says_how_to_use_it(self):
        for arguments in ((), ("nonesuch",)):
            with self.subTest(arguments=arguments):
                status, stdout, stderr = self.run_testbed(*arguments)
                self.assertEqual((status, stdout), (2, ""))
                self.assertIn("tests/testbed exec", stderr)

    def test_a_suite_that_there_is_not_is_told_before_any_work(self):
        self.assertEqual(self.run_testbed("test", "nonesuch"),
                         (EXIT_TESTBED, "", "testbed: there is no suite 'nonesuch'\n"))


if __name__ == "__main__":
    vmtest.tell_machine_state = lambda: None
    vmtest.main()
