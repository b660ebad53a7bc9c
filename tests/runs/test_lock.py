"""Two trainings of one folder: the second says whose it is."""

import os
import time

import pytest

from almeta.errors import AlmetaError
from almeta.runs.training import LOCK, train
from almeta.training.checkpoint import load_checkpoint
from almeta.training.loggers import read_json_lines
from tests.forked import Forked
from tests.holding import holding
from tests.runs import killed
from tests.runs.conftest import run_config


@pytest.mark.usefixtures("same_images", "quick_figures")
def test_a_second_training_leaves_all_as_it_is(tmp_path, finished):
    with holding(tmp_path / LOCK) as process:
        with pytest.raises(AlmetaError, match=f"belongs to a run that is going on .process {process.pid} "):
            train(run_config("stream"), tmp_path)
        assert sorted(os.listdir(tmp_path)) == [LOCK, f"{LOCK}.json"]


def test_two_trainings_of_one_folder(tmp_path, quick_figures):
    """In processes of their own: the first goes on as if nothing had been, and can be gone on with after a kill."""
    folder = tmp_path / "run"
    first = Forked(killed.run, folder, "anneal_lr=false", "batches=1000000")
    while not (folder / "last.pt").exists():
        assert first.poll() is None
        time.sleep(0.01)
    second = Forked(killed.run, folder, "anneal_lr=false", "batches=1000000")
    assert (second.wait(), second.err.count("\n")) == (1, 1), second.err
    assert f"belongs to a run that is going on (process {first.pid} on" in second.err
    first.kill()
    first.wait()
    last = load_checkpoint(folder / "last.pt")["batch"] + 3
    assert Forked(killed.run, folder, "anneal_lr=false", f"batches={last}").wait() == 0
    batches = [line["batch"] for line in read_json_lines(folder / "metrics.jsonl") if line["kind"] == "train"]
    assert batches == list(range(1, last + 1))
    assert not (folder / LOCK).exists()
