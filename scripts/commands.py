"""What the commands share: from a command line to a job, in the folder it was started in, with errors in one line."""

import contextlib
import functools
import hashlib
import math
import multiprocessing
import os
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from almeta.errors import AlmetaError, Interrupted
from almeta.processes import UNFINISHED, end_with
from almeta.scripts.errors import one_line
from almeta.scripts.help import help_text
from almeta.scripts.output import kept_output, warnings_in_one_line
from almeta.scripts.overrides import check_preset, check_resumed, literal, read_arguments

Job = Callable[[DictConfig], Any]


def command(name: str) -> Callable[[Job], Callable[..., Any]]:
    """Make a command of a function that takes the composed config `conf/NAME.yaml`; as a decorator.

    The modules at the top of a command's file are light, and the function imports what it runs: a wrong key is told
    before torch is imported, which takes seconds.
    """

    def decorate(job: Job) -> Callable[..., Any]:
        @functools.wraps(job)
        def run(config: DictConfig) -> Any:
            result: Any = math.nan  # of a sweep's job that failed, for sweepers
            with told_in_one_line():
                if multiprocessing.current_process().name.startswith("Loky"):  # a job of hydra/launcher=joblib
                    end_with(os.getppid())
                if HydraConfig.get().job.chdir:
                    os.chdir(HydraConfig.get().runtime.cwd)  # relative paths are those of the command line
                with _noted_unless_it_ends_well():
                    result = job(config)
            return result

        compose = hydra.main(version_base="1.3", config_path="pkg://almeta.conf", config_name=name)(run)

        @functools.wraps(job)
        def main(config: DictConfig | None = None) -> Any:
            if config is not None:
                return run(config)
            with kept_output():
                if {"--help", "-h"} & set(sys.argv[1:]):
                    print(help_text(name, _program(), sys.modules[job.__module__].__doc__ or ""))
                    return None
                with told_in_one_line():
                    sys.argv[1:] = read_arguments(name, sys.argv[1:])
                    check_preset(name, sys.argv[1:])
                    check_resumed(name, sys.argv[1:])
                    return compose()

        return main

    return decorate


# ---- folders


def register_resolvers() -> None:
    """Make known to configs: `${chosen:group}`, `${run_folder:resume,folder}` and `${job_folder:overrides}`."""
    OmegaConf.register_new_resolver("chosen", _chosen, replace=True)
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
    OmegaConf.register_new_resolver("job_folder", _job_folder, replace=True)


def _chosen(group: str, *, _root_: DictConfig) -> str:
    """What was chosen from a group, in a job and also for the folder of a sweep, which is known before any job is."""
    hydra = _root_.hydra if "hydra" in _root_ else HydraConfig.get()
    choice: str = hydra.runtime.choices[group]
    return choice


def _run_folder(resume: str | None, folder: str) -> str:
    """Where Hydra keeps its files: `folder`, or below the run that is resumed."""
    path = Path(str(resume))
    checkpoint = path / "last.pt" if path.is_dir() else path  # as `find_checkpoint` says, which imports torch
    if resume is None or not checkpoint.is_file():  # told when the run is read
        return folder
    return str(checkpoint.parent / "resumed" / Path(folder).name)


def _job_folder(overrides: str) -> str:
    """A name for the folder of a sweep's job: what was asked for, as text that any command takes unquoted."""
    overrides = re.sub(r"(^|,)\++", r"\1", overrides)  # which say how Hydra takes them, not what they ask for
    name = re.sub(r"[^\w.+-]", "_", overrides.replace("/", "_"), flags=re.ASCII)
    if len(name) <= 150 and name == overrides.replace("/", "_"):
        return name
    digest = hashlib.sha256(overrides.encode()).hexdigest()[:8]  # for what was cut or replaced
    return f"{name[:140]}-{digest}"


def output_folder() -> Path:
    """The folder that Hydra made for this job, relative to where we are if it lies below."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder


def _remove_notes(folder: Path) -> None:
    """Remove a folder that holds nothing but what Hydra noted of the config: the run has not begun."""
    notes = folder / ".hydra"
    if notes.is_dir() and list(folder.iterdir()) == [notes]:
        with contextlib.suppress(OSError):
            for note in notes.iterdir():
                note.unlink()
            notes.rmdir()
            if folder.is_absolute():
                folder.rmdir()
            else:
                os.removedirs(folder)  # and "runs/NAME", if that is empty now
            if folder.parent.name == "resumed":
                folder.parent.rmdir()


# ---- configs


def plain(config: DictConfig | ListConfig) -> dict[str, Any]:
    """Return a resolved config as plain dictionaries.

    Raises:
        AlmetaError: if an interpolation cannot be resolved or a required value is missing.
    """
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise AlmetaError(one_line(error)) from error


def given_keys() -> list[str]:
    """Return the keys that the command line sets, for this job."""
    return [override.partition("=")[0].lstrip("+~") for override in HydraConfig.get().overrides.task]


# ---- errors


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn mistakes of the user and interruptions into one line and an exit status, without a traceback.

    It stands twice: around a job, and around the command, where what Hydra itself finds wrong arrives. A job of a
    sweep that fails must not take the others with it: its line is written, its result is missing.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes errors on instead of printing them in its own way
    try:
        with _sigterm_as_ctrl_c(), warnings_in_one_line():
            yield
    except (Interrupted, KeyboardInterrupt) as stop:
        _leave(str(stop) or "stopped", 130)
    except Exception as error:
        line = one_line(error)
        if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
            print(f"error: {line}" if line else traceback.format_exc(), file=sys.stderr)
        elif line is None:
            raise
        else:
            _leave(f"error: {line}", 1)


@contextlib.contextmanager
def _noted_unless_it_ends_well() -> Iterator[None]:
    """Leave a note in the folder of a sweep's job if it fails: an earlier sweep may have left a summary there."""
    note = Path(HydraConfig.get().runtime.output_dir) / UNFINISHED
    is_noted = HydraConfig.get().mode == RunMode.MULTIRUN and note.parent.is_dir()
    if is_noted:
        note.touch()
    yield
    if is_noted:
        note.unlink()


def how_to_go_on(folder: Path) -> str:
    """The command that continues the run of a folder, as a shell takes it."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return "to go on, start the same sweep again"
    return f"to go on: {_program()} {shlex.quote(f'resume={literal(str(folder))}')}"


def _program() -> str:
    """How this command was called, as a shell takes it."""
    path = sys.argv[0]
    return f"python {shlex.quote(path)}" if path.endswith(".py") else shlex.quote(Path(path).name)


def _leave(message: str, status: int) -> None:
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.RUN:
        with contextlib.suppress(MissingMandatoryValue):  # Hydra itself may have failed before there was one
            _remove_notes(output_folder())
    print(message, file=sys.stderr)
    raise SystemExit(status)


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Within the block SIGTERM does what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
