"""Ctrl-C and SIGTERM to the command in a process of its own."""

import signal
import time

import pytest

from almeta.scripts import train
from tests.forked import forked_command
from tests.scripts.test_train import same_run
from tests.small_config import SMALL

ENCODER = ("network=episodic", "network.channels=2", "network.code_size=4")


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
def test_a_signal_leaves_a_run_that_goes_on(tmp_path, command, number, wait_for, says, overrides):
    process = forked_command(train, tmp_path, *SMALL, *overrides, "hydra.run.dir=run")
    try:
        file = tmp_path / "run" / wait_for
        deadline = time.monotonic() + 120
        while not (file.exists() and file.stat().st_size) and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(number)
        status = process.wait(60)
    finally:
        process.kill()
    last = process.err.splitlines()[-1]
    assert status == 130, process.err
    assert last.startswith(says)
    assert last.endswith("; to go on: python scripts/train.py resume=run")
    assert "Traceback" not in process.err
    assert not (tmp_path / "run" / "summary.json").exists()
    assert not list((tmp_path / "run").glob("*.tmp"))

    assert command(train, "resume=run").status == 0
    assert command(train, *SMALL, *overrides, "hydra.run.dir=whole").status == 0
    same_run(tmp_path / "run", tmp_path / "whole")
