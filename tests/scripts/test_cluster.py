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
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
NOTED = """
import os
from pathlib import Path
from almeta.strategies import PoolStrategy, register_strategy
from tests.waiting import wait_for

@register_strategy
class Noted(PoolStrategy):
    name = "noted_of_tests"

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def initial(self, num_envs):
        plays = Path(os.environ["PLAYS"])
        with plays.open("a") as file:
            file.write(f"{self.number}\\n")
            file.flush()
            is_early = file.tell() <= 4  # one of the first two
        wait_for(lambda: is_early or plays.with_name("lost").exists())
        return ()

    def score(self, state):
        return self.number * state.x[..., 0] - state.x[..., 1]
"""


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """Strategies that note each of their plays in a file, and the file; all plays but two wait for a file "lost"."""
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
    lost = plays.with_name("lost")
    lost.touch()
    expected = run_benchmark(["iris"], contenders, setting, tmp_path / "plain.sqlite")
    plays.unlink()
    lost.unlink()
    kept: list[str] = []

    def lose_a_worker(cells):
        for cell in cells:
            if cell == 2:  # two are kept, and each worker waits at another one
                wait_for(lambda: len(plays.read_text().split()) == 4)
                kept.extend(name for (name,) in sqlite3.connect(store).execute("SELECT strategy FROM cells"))
                os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
                lost.touch()
            yield cell

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        scheduler = {"scheduler_host": cluster.scheduler_address}
        found = run_benchmark(["iris"], contenders, setting, store, 2, "dask", scheduler, lose_a_worker)
    for table, other in ((found.curves, expected.curves), (found.picks, expected.picks)):
        pd.testing.assert_frame_equal(table, other)
    count = Counter(plays.read_text().split())
    # The one that it was at; and dask leaves the last result on its worker until the next one is there.
    assert set(count) == set("01234") and 5 + 1 <= count.total() <= 5 + 2
    assert len(kept) == 2 and sum(count[name.rpartition("=")[2].rstrip(")")] for name in kept) <= 2 + 1


def test_the_preset_of_slurm_asks_for_as_many_cores_as_a_job_has_threads():
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    config = compose_config("cluster=slurm", "threads=3")
    assert config["threads"] == 3 and "cluster" not in config
