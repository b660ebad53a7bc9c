"""Checkpoints: everything a run needs to go on as if it had never stopped. Loading one runs no code."""

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from almeta.build import as_config
from almeta.errors import AlmetaError
from almeta.files import write_atomically
from almeta.inputs import Candidates, Images, Inputs

_FORMAT, _FORMAT_BEFORE = "almeta-checkpoint-2", "almeta-checkpoint-1"
# What a checkpoint always has, beside its format.
_ENTRIES: dict[str, Any] = {
    "kind": str,
    "datasets": list,
    "digest": str,
    "inputs": dict,
    "names": list,
    "config": dict,
    "batch": int,
    "best": int | float | None,
    "agent": dict,
    "optimizer": dict,
    "generators": dict,
    "sums": dict,
    "metrics_size": int,
}
# The folder of runs that were trained at once, in which each has a folder of its own.
JOBS = "jobs"
# The keys of a run's config that are needed to build its agent again, and to know what it was trained for.
CONFIG_KEYS = ("name", "seed", "env", "network", "agent", "learner", "oracle", "dataset", "batches", "num_envs")
# Bounds far beyond what almeta writes: files of others must not exhaust stack or memory.
_DEEPEST, _MOST_PARTS = 30, 1_000_000
_PLAIN = (str, int, float, type(None))


# What the pickle of tensors, numbers, texts, lists and dictionaries calls.
_MAKES_TENSORS = re.compile(r"collections OrderedDict|torch \w+Storage|torch\._utils _rebuild_(tensor_v2|parameter)")


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content` to `path`, completely or not at all.

    Args:
        path: the file; an older one there stays intact until the new one is complete.
        content: tensors, numbers, strings, lists and dicts.

    Raises:
        AlmetaError: if the file cannot be written (full disk, no permission); nothing half-written is left.
    """
    buffer = io.BytesIO()
    torch.save({"format": _FORMAT, **content}, buffer)
    write_atomically(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        AlmetaError: if there is no such file, or it is cut short, or not a checkpoint of almeta.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch itself does not compare the checksums
            if sum(part.file_size for part in archive.infolist()) > path.stat().st_size:
                raise zipfile.BadZipFile("its parts are larger than the file")
            if broken := archive.testzip():
                raise zipfile.BadZipFile(f"bad checksum of {broken}")
            for name in archive.namelist():
                if name.endswith(".pkl"):
                    _check_calls(archive.read(name))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise AlmetaError(f"no checkpoint at {path}") from None
    except Exception as error:  # a file of another kind makes torch's reader raise nearly anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's words advise to load it unsafely
            reason = "it is no archive of tensors and plain values"
        raise AlmetaError(f"{path} is damaged or no checkpoint ({reason[:200]}); use another one") from error
    if not isinstance(content, dict) or content.get("format") not in (_FORMAT, _FORMAT_BEFORE):
        raise AlmetaError(f"{path} is not a checkpoint of almeta (format '{_FORMAT}'); use another one")
    check_plain(content, path)
    try:
        content = upgraded(content) if content["format"] == _FORMAT_BEFORE else content
    except (KeyError, TypeError, AttributeError) as error:
        raise AlmetaError(f"{path} is damaged: it has no {error} of the right kind; use another one") from error
    check_entries(content, _ENTRIES, path)
    return content


def _check_calls(pickled: bytes) -> None:
    """Raise unless a pickle calls nothing but what makes tensors: torch would also make arrays of any size.

    Raises:
        pickle.UnpicklingError: if it does.
    """
    for operation, argument, _ in pickletools.genops(pickled):
        names_something = "GLOBAL" in operation.name or operation.name in ("INST", "EXT1", "EXT2", "EXT4")
        if names_something and not _MAKES_TENSORS.fullmatch(str(argument)):
            raise pickle.UnpicklingError(f"it calls {argument}")


def check_plain(content: Any, path: Path) -> None:
    """Raise AlmetaError unless a file's content is tensors and plain values, and takes no more memory than the file."""
    left, size = [(content, 0)], path.stat().st_size
    for _ in range(_MOST_PARTS):
        if not left:
            return
        value, depth = left.pop()
        if depth > _DEEPEST:
            raise AlmetaError(f"{path} is damaged: it is nested deeper than {_DEEPEST} levels; use another one")
        if isinstance(value, Mapping):
            left += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list | tuple):
            left += [(part, depth + 1) for part in value]
        elif not (_is_whole(value, size) if isinstance(value, Tensor) else isinstance(value, _PLAIN)):
            raise AlmetaError(f"{path} is damaged: it holds more than tensors and plain values; use another one")
    raise AlmetaError(f"{path} is damaged: it has more than {_MOST_PARTS:,} parts; use another one")


def _is_whole(tensor: Tensor, size: int) -> bool:
    """Return whether a file of `size` bytes can hold all numbers of a tensor; strides can repeat a few of them."""
    if tensor.layout != torch.strided or tensor.device.type != "cpu":
        return False
    return tensor.numel() * tensor.element_size() <= min(size, tensor.untyped_storage().nbytes())


def check_entries(content: Mapping[str, Any], entries: Mapping[str, Any], path: Path) -> None:
    """Raise AlmetaError unless a checkpoint or card has entries of the right types and a config with `CONFIG_KEYS`."""
    for key, kind in entries.items():
        value = content.get(key)
        texts = not isinstance(value, list) or all(isinstance(text, str) for text in value)
        if key not in content or not isinstance(value, kind) or not texts:
            raise AlmetaError(f"{path} is damaged: it has no '{key}' of the right kind; use another one")
    rows = content.get("rows", {})  # of kinds that can tell copies of their data
    if not isinstance(rows, dict) or not all(isinstance(text, str) for text in rows.values()):
        raise AlmetaError(f"{path} is damaged: it has no 'rows' of the right kind; use another one")
    config = content["config"]
    if missing := [key for key in CONFIG_KEYS if key not in config]:
        raise AlmetaError(f"{path} is damaged: its config has no '{missing[0]}'; use another one")
    if not all(isinstance(config[part], dict) for part in ("env", "agent", "network")):
        raise AlmetaError(f"{path} is damaged: it does not say what the agent is made of; use another one")


def upgraded(content: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint of version 0.1, which has no `kind`, in the present form."""
    kept = {
        key: value for key, value in content.items() if key not in ("dataset", "classes", "num_pixels", "num_slots")
    }
    inputs: Inputs
    if "num_pixels" in content:
        inputs = Images(content["num_pixels"], content["num_slots"])
        kept |= {"kind": "stream", "datasets": [content["dataset"]], "names": list(inputs.names)}
    else:
        inputs = Candidates()
        kept |= {"kind": "pool", "names": list(content["inputs"])}
    return kept | {
        "format": _FORMAT,
        "digest": content["classes"],
        "inputs": as_config(inputs),
        "config": upgraded_config(content["config"]),
    }


# The names of things in version 0.1, and the options that it did not have, with the values that it used.
_MOVED = {
    "almeta.envs.make_simulation": "almeta.envs.StreamOptions",
    "almeta.envs.make_pool_simulation": "almeta.envs.PoolOptions",
    "almeta.agents.PoolActorCritic": "almeta.agents.ActorCritic",
}
_ADDED: dict[str, dict[str, Any]] = {
    "almeta.envs.StreamOptions": {"group": 1},
    "almeta.agents.ActorCritic": {"norm_adv": True},
    "almeta.agents.GroupReinforce": {"returns": "curve", "gae_lambda": 1.0},
}


def upgraded_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return a run's config with the present names and keys; a present one is returned as it is."""
    if "modules" in config:
        return config
    config = {"inputs": None, "modules": [], **config}
    for part in ("env", "network", "agent"):
        if isinstance(options := config.get(part), dict) and isinstance(options.get("_target_"), str):
            target = _MOVED.get(str(options["_target_"]), str(options["_target_"]))
            kept = {key: value for key, value in options.items() if key != "_partial_"}
            config[part] = _ADDED.get(target, {}) | kept | {"_target_": target}
            if target == "almeta.envs.PoolOptions":
                config["inputs"] = {"_target_": "almeta.inputs.Candidates"}
    return config


def find_checkpoint(path: str | Path, name: str = "last.pt") -> Path:
    """Return the checkpoint of a run's folder, or of its own path.

    Raises:
        AlmetaError: if there is none.
    """
    found = Path(path) / name if Path(path).is_dir() else Path(path)
    if not found.is_file():
        raise AlmetaError(
            f"no checkpoint at {found}; name a run's folder, such as runs/woodward_finn/DATE, or a .pt file"
        )
    return found


def check_data(content: dict[str, Any], identity: dict[str, Any]) -> None:
    """Raise AlmetaError unless a checkpoint was trained on the same data that its config selects now.

    Args:
        content: the checkpoint's.
        identity: of a simulation of its config, `datasets` and `digest`.
    """
    if (content["datasets"], content["digest"]) != (identity["datasets"], identity["digest"]):
        trained, today = (", ".join(map(repr, names)) for names in (content["datasets"], identity["datasets"]))
        raise AlmetaError(
            f"the checkpoint was trained on other classes of {trained} than its config selects today (of {today}): the "
            "data set has changed, as the glyphs of 'characters' may with another matplotlib, or other sets are "
            "listed; what it was trained on and what it is judged on would be mixed up"
        )
