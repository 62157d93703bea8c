#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
# testbed: kernel=stock append="cma=64M" build=release,sanitize
"""The daemon loads heaps' modules: a failure is told with its reason, and only clients of that heap wait."""

import contextlib
import os
import shutil

import vmtest
from daemontest import (DEADLINE, DaemonTest, children, daemon_pid, install_test_modules, modprobe_conf, module_absent,
                        module_state, spawner_pid)

PAGE = 4096
CMA = "default_cma_region"


class ModuleTest(DaemonTest):
    @classmethod
    def setUpClass(cls):
        install_test_modules()
        super().setUpClass()

    def assert_unavailable(self, reply, heap, *words):
        self.assert_error(reply, "HeapUnavailable", heap=heap)
        for word in words:
            with self.subTest(word=word):
                self.assertIn(word, reply["reason"])


def listed(name):
    """The entry of a heap in ListHeaps' reply, or None."""
    return next((heap for heap in vmtest.call("ListHeaps")["heaps"] if heap["name"] == name), None)


@contextlib.contextmanager
def module_gone(name):
    """Within this context the module's file is missing, but the indexes still list it."""
    path = vmtest.run("modinfo", "--field", "filename", name).strip()
    shutil.move(path, "/run/" + os.path.basename(path))
    try:
        yield
    finally:
        shutil.move("/run/" + os.path.basename(path), path)


class Absent(ModuleTest):
    def test_a_module_that_is_not_installed_is_named_and_tried_again(self):
        with module_absent("cma_heap"):
            pid = daemon_pid()
            self.assert_unavailable(vmtest.allocate(heap=CMA, size=PAGE), CMA, "cma_heap", "not installed",
                                    os.uname().release)
            self.assert_unavailable(vmtest.allocate(role="contiguous", size=PAGE), CMA, "cma_heap", "not installed")
            states = {heap["name"]: (heap["state"], heap.get("reason")) for heap in vmtest.call("ListHeaps")["heaps"]}
            self.assertEqual(states[CMA][0], "failed")
            self.assertIn("not installed", states[CMA][1])
            # A heap that needs no module is served meanwhile.
            self.assert_served(vmtest.allocate(size=PAGE))
        self.assert_served(vmtest.allocate(role="contiguous", size=PAGE), CMA)
        self.assertEqual(vmtest.unit_pid(), pid)
        states = {heap["name"]: (heap["state"], heap.get("reason")) for heap in vmtest.call("ListHeaps")["heaps"]}
        self.assertEqual(states[CMA], ("ready", None))


class Forbidden(ModuleTest):
    """modprobe.d forbids the module while the daemon runs."""

    CANARY = "/run/canary"

    def test_what_forbids_a_module_is_named_and_it_is_tried_again(self):
        heap = "protected,test"
        pid = daemon_pid()
        with modprobe_conf("blacklist protected_heap"):
            self.assert_unavailable(vmtest.allocate(heap=heap, size=PAGE), heap, "protected_heap", "blacklist")
            self.assert_unavailable(vmtest.allocate(role="protected", size=PAGE), heap, "protected_heap", "blacklist")
        for command in ("/bin/false", f"/usr/bin/touch {self.CANARY}"):
            with self.subTest(command=command), modprobe_conf(f"install protected_heap {command}"):
                self.assert_unavailable(vmtest.allocate(heap=heap, size=PAGE), heap, "protected_heap", "install")
        self.assertFalse(os.path.exists(self.CANARY), "a command of modprobe.d was run")
        with module_gone("protected_heap"):
            self.assertEqual(listed(heap)["state"], "failed")  # as the last load left it
            self.assert_unavailable(vmtest.allocate(heap=heap, size=PAGE), heap, "protected_heap", "missing")
        self.assertFalse(vmtest.module_loaded("protected_heap"))
        self.assert_served(vmtest.allocate(role="protected", size=PAGE), heap)
        self.assertTrue(vmtest.module_loaded("protected_heap"))
        self.assertEqual(vmtest.unit_pid(), pid)


class Failing(ModuleTest):
    def test_the_modules_own_error_is_told(self):
        reply = vmtest.allocate(heap="failing_test", size=PAGE)
        self.assert_unavailable(reply, "failing_test", "failing_heap", "ENODEV")

    def test_a_failed_load_is_tried_again_with_new_options(self):
        self.assert_unavailable(vmtest.allocate(heap="failing_test", size=PAGE), "failing_test", "ENODEV")
        with modprobe_conf("options failing_heap error=12"):
            self.assert_unavailable(vmtest.allocate(heap="failing_test", size=PAGE), "failing_test", "ENOMEM")

    def test_a_module_that_fails_with_eexist_has_failed(self):
        """libkmod takes EEXIST for success; the daemon does not."""
        with modprobe_conf("options failing_heap error=17"):
            self.assert_unavailable(vmtest.allocate(heap="failing_test", size=PAGE), "failing_test", "EEXIST",
                                    "exists already")

    def test_a_heap_declared_while_the_daemon_runs_is_listed(self):
        pid = daemon_pid()
        self.assertIsNone(listed("declared_later"))
        with modprobe_conf("alias dma-heap:declared_later dummy"):
            vmtest.wait_until(lambda: listed("declared_later"), DEADLINE, "it is listed")
            self.assertEqual((listed("declared_later")["state"], listed("declared_later")["module"]),
                             ("loadable", "dummy"))
        vmtest.wait_until(lambda: not listed("declared_later"), DEADLINE, "it is listed no more")
        self.assert_error(vmtest.allocate(heap="declared_later", size=PAGE), "NoSuchHeap", heap="declared_later")
        self.assertEqual(vmtest.unit_pid(), pid)

    def test_list_heaps_says_why_a_load_failed(self):
        vmtest.allocate(heap="failing_test", size=PAGE)
        (heap,) = (heap for heap in vmtest.call("ListHeaps")["heaps"] if heap["name"] == "failing_test")
        self.assertEqual((heap["state"], heap["module"]), ("failed", "failing_heap"))
        self.assertIn("ENODEV", heap["reason"])

    def test_a_module_without_its_heap_is_told(self):
        with modprobe_conf("alias dma-heap:promised dummy"):
            vmtest.run("modinfo", "dummy")
            self.assert_unavailable(vmtest.allocate(heap="promised", size=PAGE), "promised", "dummy", "no heap")


class Together(ModuleTest):
    N_CLIENTS = 20
    CONFIG = "[Daemon]\nAllocationTimeoutSec=5min\n"

    def test_one_slow_load_for_twenty_clients(self):
        """Only clients that want its heap wait, and the module is loaded once."""
        self.enterContext(modprobe_conf("options slow_heap delay_ms=120000"))
        pid = daemon_pid()
        vmtest.wait_until(lambda: children(pid) == [spawner_pid()], DEADLINE, "the daemon has no other children")
        waiting = [vmtest.Varlink(timeout=DEADLINE) for _ in range(self.N_CLIENTS)]
        for connection in waiting:
            self.addCleanup(connection.close)
            connection.send("Allocate", {"heap": "slow_test", "size": PAGE})
        vmtest.wait_until(lambda: module_state("slow_heap") == "Loading", DEADLINE, "the module is being loaded")
        loads = vmtest.wait_until(lambda: self.loads(pid), DEADLINE, "its child waits in the kernel")

        self.assert_served(vmtest.allocate(size=PAGE))
        self.assertEqual(module_state("slow_heap"), "Loading", "others had to wait")
        self.assert_unavailable(vmtest.allocate(heap="failing_test", size=PAGE), "failing_test")
        self.assertEqual(module_state("slow_heap"), "Loading", "those who want another module had to wait")
        with open("/sys/module/slow_heap/parameters/delay_ms", "w", encoding="ascii") as file:
            file.write("0")

        def loaded():
            loads.update(self.loads(pid))
            return module_state("slow_heap") == "Live"

        vmtest.wait_until(loaded, DEADLINE, "the module is there")
        for connection in waiting:
            self.assert_served(connection.receive(), "slow_test")
        self.assertEqual(len(loads), 1, "one load")

    def loads(self, pid):
        """The daemon's children that are in init_module(2) or finit_module(2)."""
        found = set()
        for child in children(pid):
            try:
                with open(f"/proc/{child}/syscall", encoding="ascii") as file:
                    if file.read().split()[0] in ("175", "313"):
                        found.add(child)
            except (FileNotFoundError, ProcessLookupError):
                pass
        return found


class Signatures(ModuleTest):
    """Enforcing signatures cannot be undone until the machine is started again, so these tests come late."""

    TRAILER = b"~Module signature appended~\n"
    HEAP = "failing_test"

    def setUp(self):
        super().setUp()
        with open("/sys/module/module/parameters/sig_enforce", "w", encoding="ascii") as file:
            file.write("1")

    def test_an_unsigned_module_is_refused(self):
        self.assert_unavailable(vmtest.allocate(heap=self.HEAP, size=PAGE), self.HEAP, "failing_heap", "signature",
                                "enforces")
        self.assertEqual(listed(self.HEAP)["state"], "failed")
        self.assert_served(vmtest.allocate(size=PAGE))

    def test_the_signature_of_another_module_is_refused(self):
        path = vmtest.run("modinfo", "--field", "filename", "failing_heap").strip()
        shutil.copy(path, "/run/unsigned.ko")
        with open(path, "ab") as file:
            file.write(self.signature_of("veth"))
        self.addCleanup(shutil.move, "/run/unsigned.ko", path)
        self.assert_unavailable(vmtest.allocate(heap=self.HEAP, size=PAGE), self.HEAP, "failing_heap", "signature",
                                "enforces")

    def signature_of(self, name):
        """The end of a signed module's file: the signature, its description and the trailer."""
        with open(vmtest.run("modinfo", "--field", "filename", name).strip(), "rb") as file:
            data = file.read()
        self.assertTrue(data.endswith(self.TRAILER))
        size = int.from_bytes(data[-len(self.TRAILER) - 4:-len(self.TRAILER)], "big")
        return data[-len(self.TRAILER) - 12 - size:]

    def test_a_signed_module_is_loaded(self):
        with modprobe_conf("alias dma-heap:signed veth"):
            self.assert_unavailable(vmtest.allocate(heap="signed", size=PAGE), "signed", "veth is loaded", "no heap")


class Disabled(ModuleTest):
    """This class is the last, because kernel.modules_disabled cannot be undone."""

    def test_modules_disabled_is_named_and_ready_heaps_are_served(self):
        with open("/proc/sys/kernel/modules_disabled", "w", encoding="ascii") as file:
            file.write("1")
        with modprobe_conf("alias dma-heap:disabled tun"):
            self.assert_unavailable(vmtest.allocate(heap="disabled", size=PAGE), "disabled", "tun",
                                    "kernel.modules_disabled")
            self.assertEqual(listed("disabled")["state"], "failed")
        self.assert_served(vmtest.allocate(size=PAGE))
        self.assert_served(vmtest.allocate(role="contiguous", size=PAGE), CMA)


if __name__ == "__main__":
    vmtest.main()
