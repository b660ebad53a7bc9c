"""Errors in one line: which thing, which value, and the way out."""

import errno
import functools
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    InterpolationKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    UnsupportedInterpolationType,
)

from almeta import conf
from almeta.errors import AlmetaError, did_you_mean

# How the plug-ins of Hydra are installed that people ask for; those with brackets are extras of almeta.
_PLUGINS = {
    "hydra/launcher/joblib": "almeta[sweep]",
    "hydra/sweeper/optuna": "almeta[optuna]",
    "hydra/launcher/ray": "hydra-ray-launcher",
    "hydra/launcher/submitit_local": "almeta[slurm]",
    "hydra/launcher/submitit_slurm": "almeta[slurm]",
}

# The keys of the folder that Hydra makes for a job.
_FOLDERS = ("hydra.run.dir", "hydra.sweep.dir", "hydra.runtime.output_dir")


def in_one_line(main: Callable[[], None]) -> Callable[[], None]:
    """Return a script's `main` that tells an AlmetaError in one line and exits with 1."""

    @functools.wraps(main)
    def told() -> None:
        try:
            main()
        except AlmetaError as error:
            sys.exit(f"error: {error}")

    return told


def one_line(error: Exception) -> str | None:
    """What to tell of an error of the input or the surroundings; None for any other, which is a fault of almeta."""
    if isinstance(error, AlmetaError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(error)
    cause = error.__cause__
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and isinstance(cause.parent_node, DictConfig):
        where, key = str(cause.full_key).rpartition(".")[0], str(cause.key)
        parts = cause.parent_node.items_ex(resolve=False)
        below = [str(name) for name, node in parts if name != "hydra" and _holds(node, key)]
        if below:  # such as target, which is options.target of a benchmark
            return f"unknown key '{key}'; write {' or '.join(f'{name}.{key}=...' for name in below)}"
        known = [str(key) for key in cause.parent_node if key != "hydra"]
        if not known and where:  # a group of which nothing is chosen
            return f"{where} is not chosen, so that it has no key '{key}'; choose one first: {where}=NAME"
        return did_you_mean(key, known, f"key of {where}" if where else "key")
    if _is_out_of_memory(error):
        return (
            "there is not enough memory; choose fewer episodes at once (num_envs, evaluate_episodes, repeats), smaller "
            f"pools (env.pool_size) or fewer jobs ({str(error).strip().splitlines()[0]})"
        )
    if isinstance(error, OSError):
        return _os_error(error)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} is missing; say what it is: {error.full_key}=..."
    if isinstance(error, OmegaConfBaseException):
        line = str(error).strip().splitlines()[0]
        if size := re.search(r"Interpolation key 'sizes\.([^.']*)", line):
            return did_you_mean(size[1], ("quick", "paper"), "scale")
        if isinstance(error, InterpolationKeyError | UnsupportedInterpolationType):
            if str(error.full_key) in _FOLDERS:  # Hydra resolves the name of a folder twice, so no backslash helps
                return (
                    line + "; a folder, and a name that is part of one, cannot hold a literal ${: choose one without ${"
                )
            line += r"; where the text itself is meant, write \${ for ${"
        return line
    if ambiguous := re.match(r"Ambiguous value for argument '([^=]*)=(.*)'", str(error)):
        key, value = ambiguous.groups()
        return (
            f"{key}={value} may mean two things: add -m to sweep over the values, or write {key}=[{value}] for a list, "
            "such as a range to draw from"
        )
    if "hydra" in Path(traceback.extract_tb(error.__traceback__)[-1].filename).parts:
        begin = f"{error.override}: " if isinstance(error, OverrideParseException) else ""
        line = begin + "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
        if relative := re.search(r"Could not override '(?:experiment|protocol)/([^'@]+)", line):
            line += f" A preset names groups from the root, with a slash: override /{relative[1]}"
        return line
    return None


def _holds(node: Any, key: str) -> bool:
    """Whether a part of a config is a group that has a key."""
    return isinstance(node, DictConfig) and not node._is_none() and not node._is_missing() and key in node


def _is_out_of_memory(error: Exception) -> bool:
    """Whether the machine or the GPU has too little memory; torch is not imported to ask."""
    in_words = isinstance(error, RuntimeError) and "not enough memory" in str(error)
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or in_words


def _os_error(error: OSError) -> str:
    """The line for a folder or file that cannot be read or written."""
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    is_benchmark = HydraConfig.initialized() and HydraConfig.get().job.config_name == "benchmark"
    make_room = "make room, or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{what}; {make_room}choose another folder with {'out' if is_benchmark else 'hydra.run.dir'}=..."


def _unknown_choice(error: MissingConfigException) -> str:
    """The line for a config such as "experiment/one_shot/quick" that is not there."""
    missing = str(error.missing_cfg_file)
    is_plugin = missing.startswith("hydra/")
    group, _, choice = missing.rpartition("/") if is_plugin else missing.partition("/")
    folder = Path(str(conf.__file__)).parent / group
    known = {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml")}
    known |= {option.removesuffix(".yaml") for option in error.options or ()}  # of other folders
    if missing in _PLUGINS:
        return f"{group}={choice} is a plug-in that is not installed; pip install '{_PLUGINS[missing]}'"
    return did_you_mean(choice, known, group)
