"""A lock on a folder or file, so that no two processes work in it at once."""

import contextlib
import json
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from almeta.errors import AlmetaError


@contextlib.contextmanager
def held(lock: Path, taken: str, way_out: str, elsewhere: str = "choose another folder") -> Iterator[None]:
    """Hold a lock within the block, if its disk can lock files.

    The system releases the lock when the process ends, even if it is killed. A file that merely exists could be one
    that a killed process left.

    Args:
        lock: the file of the lock; beside it lies `LOCK.json`, which names the process, for the message alone.
        taken: what to say if another process holds it, such as "runs/a belongs to a run that is going on".
        way_out: what to do then, such as "wait for its end".
        elsewhere: what to do if the file of the lock cannot be written.

    Raises:
        AlmetaError: naming process, host and time, if another process holds the lock; or if its folder is missing or
            its file cannot be opened.
    """
    file, holder = FileLock(lock), lock.with_name(f"{lock.name}.json")
    try:
        if not lock.parent.is_dir():
            raise FileNotFoundError(2, "No such file or directory")
        file.acquire(blocking=False)
    except Timeout:
        raise AlmetaError(f"{taken} ({_described(holder)}); {way_out}") from None
    except OSError as error:
        if not lock.exists():
            raise AlmetaError(f"could not write {lock}: {error.strerror}; {elsewhere}") from error
    try:
        process = {"pid": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with contextlib.suppress(OSError):  # a full disk; the lock holds without a name
            holder.write_text(json.dumps(process), "utf-8")
        yield
    finally:
        for path in (holder, lock):
            with contextlib.suppress(OSError):  # Windows removes no file that is open
                path.unlink()
        file.release()


def _described(holder: Path) -> str:
    """Return which process holds a lock: "process 4711 on HOST since 2030-01-01 12:00:00"."""
    try:
        process = json.loads(holder.read_text("utf-8"))
        return f"process {process['pid']} on {process['host']} since {process['since']}"
    except (OSError, ValueError, TypeError, KeyError):  # not written yet, or the disk was full
        return "another process"
