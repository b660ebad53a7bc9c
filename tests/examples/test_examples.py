"""The examples run as they stand."""

import runpy
import sys
from pathlib import Path

import pytest

from almeta.policies import policy_names
from almeta.runs.config import TrainConfig
from almeta.runs.training import train
from tests.forked import Forked
from tests.small_config import small_config

ROOT = Path(__file__).parents[2]
SAYS = {
    "images": "label this one next: ",
    "own_stream": "digits: 50 images of 5 classes: ",
    "own_strategy": "cover_then_settle(after=0.25)",
    "own_table": "label these next: ",
}


def play(path: Path, *arguments: str) -> None:
    sys.argv = [str(path), *arguments]
    runpy.run_path(str(path), run_name="__main__")


def test_each_example_has_its_test():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ALMETA_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    if name == "own_stream" and "one-shot-omniglot" not in policy_names():
        pytest.skip("no policy one-shot-omniglot ships yet")
    process = Forked(play, ROOT / "examples" / f"{name}.py")
    skip_without_data(process)
    assert SAYS[name] in process.out


def test_the_stream_is_played_by_a_run_that_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **options: file.write(b"\x89PNG"))
    monkeypatch.setattr("almeta.runs.streams.FEW_SHOT_EPISODES", 4)
    folder = tmp_path / "run"
    folder.mkdir()
    train(TrainConfig.read(small_config("experiment=one_shot/quickstart", "batches=1", "evaluate_every=9")), folder)
    process = Forked(play, ROOT / "examples" / "own_stream.py", str(folder))
    skip_without_data(process)
    lines = process.out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        *["characters"] * 3, "characters, named beforehand", *["digits"] * 2
    ]  # fmt: skip
    assert SAYS["own_stream"] in lines[-1]


def skip_without_data(process: Forked) -> None:
    """Wait for the end; skip where it told that a data set is neither here nor to be downloaded."""
    status = process.wait(300)
    if status and "put the file at" in process.err:
        pytest.skip(process.err.splitlines()[-1])
    assert status == 0, process.err
