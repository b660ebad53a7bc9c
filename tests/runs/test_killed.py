import os
import subprocess
import sys

import pytest

from tests.runs.killed import ROOT


@pytest.mark.slow
def test_a_run_that_was_stopped_anywhere_ends_as_one_that_was_not():
    """Two instants for each signal; `python -m tests.runs.killed 30` tries thirty."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "tests.runs.killed", "2"]
    done = subprocess.run(line, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of 6 runs differ from the one that was never stopped" in done.stdout
