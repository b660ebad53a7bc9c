"""A lock on a run's folder, so that no two processes train in it at once."""

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from almeta.errors import AlmetaError

LOCK = ".lock"
HOLDER = ".lock.json"  # which process holds the folder, for the message alone


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a folder within the block, if its disk can lock files.

    The system releases the lock when the process ends, even if it is killed. A file that merely exists could be one
    that a killed process left.

    Raises:
        AlmetaError: naming process, host and time, if another process holds the folder; or if the folder is missing or
            the file of the lock cannot be opened.
    """
    lock = FileLock(folder / LOCK)
    try:
        if not folder.is_dir():
            raise FileNotFoundError(2, "No such file or directory")
        lock.acquire(blocking=False)
    except Timeout:
        raise AlmetaError(
            f"{folder} belongs to a run that is going on ({_holder(folder)}); wait for its end, or choose another "
            "folder with hydra.run.dir=..."
        ) from None
    except OSError as error:
        if not (folder / LOCK).exists():
            raise AlmetaError(f"could not write {folder / LOCK}: {error.strerror}; choose another folder") from error
    try:
        holder = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with contextlib.suppress(OSError):  # a full disk; the lock holds without a name
            (folder / HOLDER).write_text(json.dumps(holder), "utf-8")
        yield
    finally:
        for name in (HOLDER, LOCK):
            with contextlib.suppress(OSError):  # Windows removes no file that is open
                (folder / name).unlink()
        lock.release()


def _holder(folder: Path) -> str:
    """Return which process holds a folder: "process 4711 on HOST since 2030-01-01 12:00:00"."""
    try:
        holder = json.loads((folder / HOLDER).read_text("utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, TypeError, KeyError):  # not written yet, or the disk was full
        return "another process"
