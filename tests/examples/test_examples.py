"""The examples run as they stand."""

import runpy
from pathlib import Path

import pytest

from tests.forked import Forked

ROOT = Path(__file__).parents[2]
SAYS = {
    "images": "label this one next: ",
    "own_strategy": "cover_then_settle(after=0.25)",
    "own_table": "label these next: ",
}


def play(path: Path) -> None:
    runpy.run_path(str(path), run_name="__main__")


def test_each_example_has_its_test():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name, tmp_path, monkeypatch):
    monkeypatch.setenv("ALMETA_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    process = Forked(play, ROOT / "examples" / f"{name}.py")
    assert process.wait(300) == 0, process.err
    assert SAYS[name] in process.out
