"""Beyond one machine: a benchmark on a cluster that loses a worker, and the preset for sweeps on Slurm.

What takes longer is tried by hand, with the commands of docs/cluster.md: Ray, and submitit's local executor.
"""

import os
import signal
import sqlite3
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from almeta.evaluation.benchmark import StrategySpec, run_benchmark
from almeta.registry import import_modules
from tests.evaluation.test_benchmark import make_setting
from tests.small_config import compose_config

ROOT = Path(__file__).resolve().parents[2]
NOTED = """
import os, time
from almeta.strategies import PoolStrategy, register_strategy

@register_strategy
class Noted(PoolStrategy):
    name = "noted_of_tests"

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def initial(self, num_envs):
        with open(os.environ["PLAYS"], "a") as file:
            file.write(f"{self.number}\\n")
        return ()

    def score(self, state):
        time.sleep(0.1)
        return self.number * state.x[..., 0] - state.x[..., 1]
"""


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """Strategies that note each of their plays in a file, and the file."""
    (tmp_path / "noted_of_tests.py").write_text(NOTED, "utf-8")
    plays = tmp_path / "plays.txt"
    monkeypatch.setenv("PLAYS", str(plays))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(ROOT), str(tmp_path))))
    monkeypatch.syspath_prepend(str(tmp_path))
    import_modules(["noted_of_tests"])
    return [StrategySpec("noted_of_tests", (("number", number),)) for number in range(5)], plays


@pytest.mark.slow
def test_a_worker_of_dask_that_is_lost_costs_only_what_it_was_at(noted, tmp_path):
    distributed = pytest.importorskip("distributed")
    contenders, plays = noted
    setting, store = make_setting(repeats=2), tmp_path / "cells.sqlite"
    expected = run_benchmark(["iris"], contenders, setting, tmp_path / "plain.sqlite")
    plays.unlink()
    kept: list[str] = []

    def lose_a_worker(cells):
        for cell in cells:
            if cell == 1:  # the first one is kept
                kept.extend(name for (name,) in sqlite3.connect(store).execute("SELECT strategy FROM cells"))
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
            yield cell

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        scheduler = {"scheduler_host": cluster.scheduler_address}
        found = run_benchmark(["iris"], contenders, setting, store, 2, "dask", scheduler, lose_a_worker)
    for table, other in ((found.curves, expected.curves), (found.picks, expected.picks)):
        pd.testing.assert_frame_equal(table, other)
    count = Counter(plays.read_text().split())
    assert set(count) == set("01234") and count.total() <= 5 + 2  # one it played, one on the way
    assert len(kept) == 1 and count[kept[0].rpartition("=")[2].rstrip(")")] == 1


def test_the_preset_of_slurm_asks_for_as_many_cores_as_a_job_has_threads():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    config = compose_config("cluster=slurm", "threads=3")
    assert config["threads"] == 3 and "cluster" not in config
