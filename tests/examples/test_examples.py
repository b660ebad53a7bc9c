"""The examples run as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SAYS = {
    "images": "label this one next: ",
    "own_strategy": "cover_then_settle(after=0.25)",
    "own_table": "label these next: ",
}


def test_each_example_has_its_test():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(SAYS)


@pytest.mark.parametrize("name", SAYS)
def test_an_example_runs(name, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ALMETA_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, str(ROOT / "examples" / f"{name}.py")]
    ran = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert SAYS[name] in ran.stdout
