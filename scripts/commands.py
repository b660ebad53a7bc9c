"""What the commands share: plain configs, folders, and errors told in one line."""

import contextlib
import hashlib
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from almeta import conf
from almeta.build import trust_targets
from almeta.errors import AlmetaError, Interrupted, did_you_mean
from almeta.registry import import_modules
from almeta.runs.config import TrainConfig
from almeta.runs.training import RESUMABLE, differing_keys
from almeta.training.checkpoint import find_checkpoint, load_checkpoint

# ---- folders


def register_resolvers() -> None:
    """Make known to configs: `${run_folder:resume,folder}` and `${job_folder:overrides}`."""
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)
    OmegaConf.register_new_resolver("job_folder", _job_folder, replace=True)


def _run_folder(resume: str | None, folder: str) -> str:
    """Where Hydra keeps its files: `folder`, or below the run that is resumed."""
    try:
        run = find_checkpoint(str(resume)).parent if resume is not None else None
    except AlmetaError:  # told when the run is read
        run = None
    return folder if run is None else str(run / "resumed" / Path(folder).name)


def _job_folder(overrides: str) -> str:
    """A name for the folder of a sweep's job: what was asked for, as text that any command takes unquoted."""
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
        raise AlmetaError(str(error).splitlines()[0]) from error


def name_datasets() -> None:
    """Let `dataset=csv:my.csv`, or any name that has no file of its own in conf/dataset, stand on the command line.

    It is short for `dataset=named dataset.name=csv:my.csv`.
    """
    choices = {path.stem for path in (Path(str(conf.__file__)).parent / "dataset").glob("*.yaml")}
    for place, argument in enumerate(sys.argv):
        key, equals, name = argument.partition("=")
        if key == "dataset" and equals and name not in (*choices, "null"):
            quoted = name.replace("\\", "\\\\").replace("'", "\\'")
            sys.argv[place : place + 1] = ["dataset=named", f"dataset.name='{quoted}'"]


def read_run(config: DictConfig) -> tuple[TrainConfig, Path, Path | None]:
    """Return the run's config, its folder and the checkpoint to go on from: of a new run, or of one to be resumed."""
    if config.resume is None:
        told = plain(config)
        import_modules(told.get("modules") or [])
        trust_targets(told)  # a checkpoint's are not: whoever wrote it may be a stranger
        return TrainConfig.read(told), output_folder(), None
    checkpoint = find_checkpoint(str(config.resume))
    import_modules(config.modules)
    before = load_checkpoint(checkpoint)["config"]
    resumed = OmegaConf.create(before)
    for override in HydraConfig.get().overrides.task:
        key = override.lstrip("+~").partition("=")[0].partition("@")[0]
        part = key.partition(".")[0]
        if part in RESUMABLE:
            OmegaConf.update(resumed, part, OmegaConf.select(config, part), merge=False)
        elif key != "resume":
            raise AlmetaError(
                f"{override} cannot change when a run is resumed; only {', '.join(sorted(RESUMABLE))} can"
            )
    changed = plain(resumed)
    if differing_keys(changed, before):
        raise AlmetaError(
            f"batches={changed['batches']} cannot change when a run with anneal_lr=true is resumed: its learning rate "
            f"falls to zero over batches={before['batches']}; start a new run"
        )
    return TrainConfig.read(changed), checkpoint.parent, checkpoint


# ---- errors


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn mistakes of the user and interruptions into one line and an exit status, without a traceback.

    It stands twice: around a job, and around the command, where what Hydra itself finds wrong arrives. A job of a
    sweep that fails must not take the others with it: its line is written, its result is missing.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra passes errors on instead of printing them in its own way
    try:
        with _sigterm_as_ctrl_c():
            yield
    except (Interrupted, KeyboardInterrupt) as stop:
        _leave(str(stop) or "stopped", 130)
    except Exception as error:
        line = _one_line(error)
        if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
            print(f"error: {line}" if line else traceback.format_exc(), file=sys.stderr)
        elif line is None:
            raise
        else:
            _leave(f"error: {line}", 1)


def how_to_go_on(folder: Path) -> str:
    """The command that continues the run of a folder."""
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        return "to go on, start the same sweep again"
    program = f"python {sys.argv[0]}" if sys.argv[0].endswith(".py") else Path(sys.argv[0]).name
    return f"to go on: {program} resume={folder}"


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


def _one_line(error: Exception) -> str | None:
    """What to tell of an error of the input or the surroundings; None for any other, which is a fault of almeta."""
    if isinstance(error, AlmetaError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(error.missing_cfg_file)
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, DictConfig):
        where = str(cause.full_key).rpartition(".")[0]
        known = [str(key) for key in cause.parent_node if key != "hydra"]
        return did_you_mean(str(cause.key), known, f"key of {where}" if where else "key")
    if isinstance(error, OSError):
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return f"{what}; make room, or choose another folder with hydra.run.dir=..."
    if isinstance(error, OmegaConfBaseException):
        return str(error).splitlines()[0]
    if "hydra" in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts:
        begin = f"{error.override}: " if isinstance(error, OverrideParseException) else ""
        return begin + "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return None


def _unknown_choice(missing: str) -> str:
    """The line for a config such as "experiment/one_shot/quick" that is not there."""
    group, _, choice = missing.partition("/")
    folder = Path(str(conf.__file__)).parent / group
    known = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")]
    return did_you_mean(choice, known, group)
