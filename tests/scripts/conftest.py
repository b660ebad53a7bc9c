import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from hydra._internal.hydra import Hydra
from hydra.core.hydra_config import HydraConfig

import almeta.scripts.train
from tests.small_config import SMALL


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that is all it says on standard error."""
        assert self.err.endswith("\n") and self.err.count("\n") == 1, self.err
        return self.err.rstrip("\n")


Command = Callable[..., Outcome]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys, tiny_data, quick_figures):
    """Runs a command in this process and in an empty folder: `command(train, "seed=1")`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR", ""))  # put back afterwards
    # Hydra composes each config twice, first to learn whether the config itself asks for a sweep, which none does here.
    monkeypatch.setattr(Hydra, "get_mode", lambda *args, **kwargs: None)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(module: ModuleType, *overrides: str) -> Outcome:
        name = module.__name__.rpartition(".")[2]
        monkeypatch.setattr(sys, "argv", [f"scripts/{name}.py", *overrides])
        HydraConfig.instance().cfg = None
        status = 0
        try:
            module.main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        finally:
            root.handlers[:], root.level = handlers, level  # Hydra puts in its own
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def kept_runs(tmp_path_factory):
    """A folder for runs, which those of equal overrides are copied from."""
    return tmp_path_factory.mktemp("kept_runs")


@pytest.fixture
def small_run(command, kept_runs):
    """Makes the folder of a small run of `train`, each only once in a module: `small_run("run", "seed=1")`."""

    def make(folder: str, *overrides: str) -> Path:
        kept = kept_runs / hashlib.sha256(" ".join(overrides).encode()).hexdigest()
        if not kept.exists():
            asked = (*SMALL, *overrides, f"hydra.run.dir={folder}")
            assert command(almeta.scripts.train, *asked).status == 0
            shutil.copytree(folder, kept)
        return Path(shutil.copytree(kept, folder, dirs_exist_ok=True))

    return make
