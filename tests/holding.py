"""Another process that holds a lock."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from almeta.lock import held
from tests.forked import Forked


def hold(lock: Path) -> None:
    with held(lock, "it is taken", "wait"):
        print("held", flush=True)
        time.sleep(600)


@contextlib.contextmanager
def holding(lock: Path) -> Iterator[Forked]:
    """Let another process hold a lock within the block."""
    process = Forked(hold, lock)
    while process.out != "held\n":
        assert process.poll() is None, process.err
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()
