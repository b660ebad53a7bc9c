"""Progress: plain lines, a bar on a terminal, right rates after a resume."""

import io
import os
import pty
import re

import pytest

from almeta.training.progress import Progress


class Clock:
    """Stands still until it is moved on."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def run(batches, seconds_each, every=15.0, describe="", returns=None):
    """Return the lines that are printed when a batch takes so many seconds."""
    clock, stream = Clock(), io.StringIO()
    progress = Progress(describe, every, stream, clock)
    seen = []
    for batch in progress(batches):
        seen.append(batch)
        clock.now += seconds_each
        if returns:
            progress.log({"kind": "train", "batch": batch + 1, "mean_return": returns[batch]})
            progress.log({"kind": "evaluation", "batch": batch + 1, "classes": "test", "mean_return": 99.0})
    assert seen == list(batches)
    return stream.getvalue().splitlines()


def test_a_line_every_so_often_and_one_at_the_end():
    assert run(range(6), 8.0) == [
        "batch 2 of 6 | 0.1 batches/s | 32 s left",
        "batch 4 of 6 | 0.1 batches/s | 16 s left",
        "batch 6 of 6 | 0.1 batches/s | took 48 s",
    ]


def test_numbers_for_long_runs():
    lines = run(range(100_000), 1 / 16, every=600.0)
    assert len(lines) == 11
    assert lines[0] == "batch 9,600 of 100,000 | 16.0 batches/s | 94 min left"
    assert lines[-1] == "batch 100,000 of 100,000 | 16.0 batches/s | took 1 h 44 min"
    assert run(range(1000), 20.0, every=1e4)[0] == "batch 500 of 1,000 | 0.1 batches/s | 2 h 47 min left"


def test_rates_after_a_resume_count_from_there():
    assert run(range(90, 100), 2.0, every=10.0) == [
        "batch 95 of 100 | 0.5 batches/s | 10 s left",
        "batch 100 of 100 | 0.5 batches/s | took 20 s",
    ]


def test_a_name_and_the_latest_return_of_training():
    assert run(range(2), 20.0, describe="seed 3", returns=[1.234, -5.0]) == [
        "seed 3: batch 1 of 2 | 0.1 batches/s | 20 s left | mean return 1.23",
        "seed 3: batch 2 of 2 | 0.1 batches/s | took 40 s | mean return -5.00",
    ]


@pytest.mark.parametrize("batches", [range(0), range(7, 7), range(9, 7)])
def test_silent_where_there_is_nothing_to_do(batches):
    assert run(batches, 1.0) == []


def test_no_time_at_all():
    assert run(range(2), 0.0, every=0.0) == ["batch 0 of 2", "batch 1 of 2", "batch 2 of 2"]


def test_it_writes_to_standard_error(capsys):
    assert list(Progress("run")(range(3, 5))) == [3, 4]
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(r"run: batch 5 of 5 \| [\d,.]+ batches/s \| took 0 s\n", output.err)


@pytest.fixture
def terminal(monkeypatch):
    """A terminal to write to, and a function that returns what was written."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "150")
    ours, theirs = pty.openpty()
    stream = os.fdopen(theirs, "w")

    def read():
        stream.close()
        written = b""
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # Linux says so when the other side is closed
                chunk = b""
            if not chunk:
                return written.decode()
            written += chunk

    yield stream, read
    os.close(ours)


def test_a_bar_on_a_terminal(terminal):
    stream, read = terminal
    clock = Clock()
    progress = Progress("demo", 15.0, stream, clock)
    for batch in progress(range(10, 20)):
        clock.now += 1.0
        progress.log({"kind": "train", "batch": batch + 1, "mean_return": 2.5})
    written = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", read())
    assert "demo" in written and "━" in written
    assert "batch 15 of 20 | 1.0 batches/s | 5 s left | mean return 2.50" in written
    assert "batch 20 of 20 | 1.0 batches/s | took 10 s | mean return 2.50" in written


def test_an_error_gives_the_terminal_back(terminal):
    stream, read = terminal

    def fail():
        for batch in Progress("demo", 15.0, stream)(range(10)):
            if batch == 3:
                raise RuntimeError("in the loop")

    with pytest.raises(RuntimeError, match="in the loop"):
        fail()
    written = read()
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")  # the cursor is shown again
