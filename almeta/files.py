"""Writing files completely or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from almeta.errors import AlmetaError


def write_atomically(path: Path, content: bytes | str | Callable[[BinaryIO], Any]) -> None:
    """Write a file under a temporary name, then rename it: readers see the old file or the new one.

    Args:
        path: the file; its folder must exist.
        content: bytes, text to write as UTF-8, or a function that writes to the open file.

    Raises:
        AlmetaError: if that fails; the temporary file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        before = "the previous one is intact" if path.exists() else "there is no earlier one"
        raise AlmetaError(
            f"could not write {path}: {error.strerror} ({before}); make room or choose another folder"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)  # still there only if something went wrong, a second Ctrl-C included
