#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M dma_heap.mem_accounting=1" files=../../README.md
"""The commands of README.md, run in their order, print what README.md says."""

import re
import subprocess
import unittest

import vmtest

with open("/testbed/README.md", encoding="utf-8") as file:
    README = file.read()
AS_USER1 = ["setpriv", "--reuid", "user1", "--regid", "user1", "--init-groups"]


def commands():
    """The commands in README's console blocks, each as [prompt, command, expected output]."""
    found = []
    for block in re.findall(r"^```console\n(.*?)^```$", README, re.M | re.S):
        for line in block.splitlines(keepends=True):
            if line[:2] in ("$ ", "# "):
                found.append([line[0], line[2:], ""])
            elif line.startswith("> "):
                found[-1][1] += line[2:]
            else:
                found[-1][2] += line
    return found


def shape(text):
    """The lines of a text, without what differs from run to run: numbers, sizes, ages and the width of columns."""
    text = re.sub(r"\b\d+(\.\d+)?[BKMGTs]?\b", "N", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


class Readme(unittest.TestCase):
    def say(self, prompt, command):
        done = subprocess.run([*([] if prompt == "#" else AS_USER1), "bash", "-c", command], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout

    def try_command(self, prompt, command, expected):
        """Whether the command prints what README shows, and fails only where README shows QuotaExceeded; and what it
        said."""
        status, said = self.say(prompt, command)
        # The command may print more lines, such as other clients of this machine.
        lines = iter(shape(said))
        fits = all(line in lines for line in shape(expected))
        return fits and (status == 0) == ("QuotaExceeded" not in expected), f"{command}status {status}\n{said}"

    def test_each_command_does_what_is_written(self):
        path = commands()
        # README covers listing, allocating, usage, a limit that is hit and then raised, and the list of holders.
        self.assertGreater(len(path), 15)
        for verb in ("list", "allocate", "usage", "clients", "buffers"):
            with self.subTest(verb=verb):
                self.assertTrue(any(f"dmaheapctl {verb}" in command for _, command, _ in path))
        self.assertTrue(any("QuotaExceeded" in expected for *_, expected in path))

        # This line is in 'On a real target'.
        enable, = re.findall(r"^systemctl enable .*$", README, re.M)
        self.assertEqual(self.say("#", enable)[0], 0)

        for prompt, command, expected in path:
            with self.subTest(command=command):
                # These show units that were started or stopped a moment ago.
                if re.match(r"dmaheapctl (clients|buffers)", command):
                    said = ""

                    def fits():
                        nonlocal said
                        good, said = self.try_command(prompt, command, expected)  # pylint: disable=cell-var-from-loop
                        return good
                    try:
                        vmtest.wait_until(fits)
                    except AssertionError:
                        self.fail(said)
                else:
                    good, said = self.try_command(prompt, command, expected)
                    self.assertTrue(good, said)


class Outside(unittest.TestCase):
    """README's program, built as C and as C++ outside the tree, with what pkg-config says of the installed library."""

    def test_the_program_runs_in_c_and_in_c_plus_plus(self):
        for program in ("in-c", "in-c++"):
            with self.subTest(program=program):
                said = vmtest.run(*AS_USER1, f"/usr/lib/dmaheapd/outside/{program}")
                self.assertEqual(said, "a dma-buf of 8388608 bytes\n")
        done = vmtest.run("setpriv", "--reuid", "outsider", "--regid", "outsider", "--clear-groups",
                          "/usr/lib/dmaheapd/outside/in-c", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("permission denied", done.stderr)


if __name__ == "__main__":
    vmtest.main()
