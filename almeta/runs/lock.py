"""Holding a run's folder, so that no two processes train in it at once."""

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from almeta.errors import AlmetaError

try:
    import fcntl

    _CAN_LOCK = True
except ImportError:  # Windows has no flock, and nothing else that goes with a killed process and works on shared disks
    _CAN_LOCK = False

LOCK = ".lock"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder within the block, as far as the system can lock files.

    The system itself lets go of the lock when the process ends, however it ends: a file that merely exists would have
    to be told from one that a killed process left, and process numbers come again and differ between hosts. The file
    says who holds the folder, for the message alone.

    Raises:
        AlmetaError: naming process, host and time, if another process holds it; or if the lock cannot be written.
    """
    if not _CAN_LOCK:
        yield
        return
    path = folder / LOCK
    descriptor = _locked(path)
    try:
        holder = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path) -> int:
    """Open the file, lock it, and return its descriptor."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise AlmetaError(f"could not write {path}: {error.strerror}; choose another folder") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise AlmetaError(
                f"{path.parent} belongs to a run that is going on ({holder}); wait for its end, or choose another "
                "folder with hydra.run.dir=..."
            ) from None
        except OSError:  # a disk that cannot lock files
            return descriptor
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # a run that has just ended removed this file: lock the next one


def _holder(descriptor: int) -> str:
    """Who wrote the file: "process 4711 on HOST since 2030-01-01 12:00:00"."""
    try:
        holder = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, TypeError, KeyError):  # it has only just begun
        return "another process"
