"""Checkpoints: everything a run needs to go on as if it had never stopped. Loading one runs no code."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from almeta.errors import AlmetaError
from almeta.files import write_atomically

_FORMAT = "almeta-checkpoint-1"


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write `content` to `path`, whole or not at all.

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
            if broken := archive.testzip():
                raise zipfile.BadZipFile(f"bad checksum of {broken}")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise AlmetaError(f"no checkpoint at {path}") from None
    except Exception as error:  # a file of another kind makes torch's reader raise nearly anything
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's words advise to load it unsafely
            reason = "it is no archive of tensors and plain values"
        raise AlmetaError(f"{path} is damaged or no checkpoint ({reason[:200]}); use another one") from error
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise AlmetaError(f"{path} is not a checkpoint of almeta (format '{_FORMAT}'); use another one")
    return content
