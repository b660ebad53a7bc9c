import pytest

from tests.forked import Forked
from tests.runs import killed


@pytest.mark.slow
def test_a_run_that_was_stopped_anywhere_ends_as_one_that_was_not():
    """Two instants for each signal; `python -m tests.runs.killed 30` tries thirty."""
    process = Forked(killed.main, 2)
    assert process.wait(600) == 0, process.out + process.err
    assert "0 of 6 runs differ from the one that was never stopped" in process.out
