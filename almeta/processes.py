"""Processes that end with the one they work for, and the note of a job that has not ended well."""

import os
import threading
import time

# Lies in the folder of a sweep's job from its start to its end; it stays there if the job fails.
UNFINISHED = ".hydra/unfinished"

_watched: set[int] = set()


def end_with(parent: int) -> None:
    """Let this process end within a second after its parent, which may have no time to say so (kill -9).

    A worker of joblib would wait for minutes for work that never comes, or finish its work for nobody. Linux could send
    a signal when the parent ends, but takes the end of the thread that started the worker for that of the parent.

    Args:
        parent: its process id. Where a child keeps the id of a parent that has ended, as on Windows, it goes on.
    """
    if parent in _watched:
        return
    _watched.add(parent)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
