"""Waiting for other processes."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, a minute at the most."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it does not come to hold"
        time.sleep(0.01)
