"""Processes that begin as copies of this one: nothing is imported anew, which takes seconds."""

import multiprocessing
import os
import signal
import sys
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch._dynamo  # the first optimiser imports it  # noqa: F401


class Forked:
    """A process that runs a function, and ends with the status that it returns; what tests replace is replaced there.

    Attributes:
        pid: its number.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._files = [tempfile.TemporaryFile() for _ in range(2)]  # noqa: SIM115
        for file in self._files:  # else whatever test runs when they are collected is told that they were left open
            weakref.finalize(self, file.close)
        self._process = multiprocessing.get_context("fork").Process(target=self._run, args=(function, arguments))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def _run(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        for number, (name, file) in enumerate(zip(("stdout", "stderr"), self._files, strict=True), 1):
            os.dup2(file.fileno(), number)
            setattr(sys, name, os.fdopen(number, "w", buffering=1, encoding="utf-8", closefd=False))
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(function(*arguments))

    def poll(self) -> int | None:
        """Return the exit status, -9 for `kill -9`; None while the process runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float = 120) -> int:
        """Wait for the end, and return the exit status."""
        self._process.join(timeout)
        status = self._process.exitcode
        if status is None:
            self.kill()
            raise AssertionError(f"still running after {timeout} s: {self.out}{self.err}")
        return status

    @property
    def out(self) -> str:
        """What it has printed."""
        return self._read(0)

    @property
    def err(self) -> str:
        return self._read(1)

    def _read(self, number: int) -> str:
        descriptor = self._files[number].fileno()
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode()  # the position is the other process's


def forked_command(module: ModuleType, folder: Path, *overrides: str) -> Forked:
    """Run a command of almeta in a folder."""

    def run() -> None:
        os.chdir(folder)
        sys.argv = [f"scripts/{module.__name__.rpartition('.')[2]}.py", *overrides]
        module.main()

    return Forked(run)
