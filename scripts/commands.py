"""What the commands share: plain configs, and errors told in one line."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from almeta.errors import AlmetaError, Interrupted
from almeta.training.build import find_checkpoint
from almeta.training.checkpoint import load_checkpoint

# What may change when a run goes on: how long, how often, where and how fast; never what is learned.
RESUMABLE = {
    "batches", "checkpoint_every", "device", "evaluate_episodes", "evaluate_every", "final_episodes", "log_every",
    "logger", "matmul_precision", "threads",
}  # fmt: skip


def register_resolvers() -> None:
    """Make `${run_folder:resume,folder}` known to configs: a resumed run keeps Hydra's files below its own folder."""
    OmegaConf.register_new_resolver("run_folder", _run_folder, replace=True)


def _run_folder(resume: str | None, folder: str) -> str:
    if resume is None:
        return folder
    run = Path(resume).parent if Path(resume).suffix == ".pt" else Path(resume)
    return str(run / "resumed" / Path(folder).name)


def output_folder() -> Path:
    """The folder that Hydra made for this job."""
    return Path(HydraConfig.get().runtime.output_dir)


def plain(config: DictConfig | ListConfig) -> dict[str, Any]:
    """Return a resolved config as plain dictionaries.

    Raises:
        AlmetaError: if an interpolation cannot be resolved or a required value is missing.
    """
    try:
        return OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        raise AlmetaError(str(error).splitlines()[0]) from error


def read_run(config: DictConfig) -> tuple[dict[str, Any], Path]:
    """Return the run's config and folder: new ones, or those of the run to be resumed."""
    if config.resume is None:
        return plain(config), output_folder()
    checkpoint = find_checkpoint(config.resume)
    resumed = OmegaConf.create(load_checkpoint(checkpoint)["config"])
    for override in HydraConfig.get().overrides.task:
        key = override.lstrip("+~").partition("=")[0].partition("@")[0]
        if key.partition(".")[0] in RESUMABLE:
            OmegaConf.update(resumed, key, OmegaConf.select(config, key))
        elif key != "resume":
            raise AlmetaError(
                f"{override} cannot change when a run is resumed; only {', '.join(sorted(RESUMABLE))} can"
            )
    return plain(resumed), checkpoint.parent


@contextlib.contextmanager
def told_in_one_line() -> Iterator[None]:
    """Turn mistakes of the user and interruptions into one line and an exit status, without a traceback.

    In a sweep a job that fails must not take the others with it: its line is written, its result is missing.
    """
    try:
        yield
    except Interrupted as stop:
        _leave(str(stop), 130)
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except AlmetaError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            print(f"error: {error}", file=sys.stderr)
        else:
            _leave(f"error: {error}", 1)


def _leave(message: str, status: int) -> None:
    print(message, file=sys.stderr)
    raise SystemExit(status)
