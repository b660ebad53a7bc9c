"""Ctrl-C and SIGTERM to the command in a process of its own, on real data."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from almeta.data import load_dataset
from almeta.scripts import train
from tests.scripts.test_train import same_run
from tests.small_config import SMALL

ENCODER = ("network=episodic", "network.channels=2", "network.code_size=4")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "wait_for", "says", "overrides"),
    [
        # In the middle of training: the first records are there, most of it lies ahead.
        (signal.SIGINT, "metrics.jsonl", "stopped after batch ", ["batches=150", "evaluate_every=150"]),
        # While the image encoder is trained: the first checkpoint is there.
        (signal.SIGTERM, "last.pt", "stopped; ", [*ENCODER, "batches=4", "pretraining.batches=600"]),
    ],
)
def test_a_signal_leaves_a_run_that_goes_on(tmp_path, command, monkeypatch, number, wait_for, says, overrides):
    line = [sys.executable, "scripts/train.py", *SMALL, *overrides, f"hydra.run.dir={tmp_path / 'run'}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=-1, stderr=-1, text=True)
    try:
        file = tmp_path / "run" / wait_for
        deadline = time.monotonic() + 120
        while not (file.exists() and file.stat().st_size) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    last = err.splitlines()[-1]
    assert process.returncode == 130, err
    assert last.startswith(says)
    assert last.endswith(f"; to go on: python scripts/train.py resume={tmp_path / 'run'}")
    assert "Traceback" not in err
    assert not (tmp_path / "run" / "summary.json").exists()
    assert not list((tmp_path / "run").glob("*.tmp"))

    monkeypatch.setattr("almeta.runs.streams.load_dataset", load_dataset)
    assert command(train, f"resume={tmp_path / 'run'}").status == 0
    assert command(train, *SMALL, *overrides, "hydra.run.dir=whole").status == 0
    same_run(tmp_path / "run", tmp_path / "whole")
