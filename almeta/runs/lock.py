"""A lock on a run's folder, so that no two processes train in it at once."""

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
except ImportError:  # Windows has no lock that ends with a killed process and works on shared disks
    _CAN_LOCK = False

LOCK = ".lock"


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Lock a folder within the block, if the system can lock files.

    The system releases the lock when the process ends, even if it is killed. A file that merely exists could be one
    that a killed process left. The content of the file, the process that holds the folder, is for the message alone.

    Raises:
        AlmetaError: naming process, host and time, if another process holds the folder; or if the file of the lock
            cannot be opened.
    """
    if not _CAN_LOCK:
        yield
        return
    path = folder / LOCK
    descriptor = _locked(path)
    try:
        holder = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with contextlib.suppress(OSError):  # a full disk; the lock holds without a name
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
        except OSError:  # the disk cannot lock files
            return descriptor
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # a run that has just ended removed this file: lock a new one


def _holder(descriptor: int) -> str:
    """Return which process wrote the file: "process 4711 on HOST since 2030-01-01 12:00:00"."""
    try:
        holder = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, TypeError, KeyError):  # not written yet, or the disk was full
        return "another process"
