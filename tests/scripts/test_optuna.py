"""Optuna's sweeper raises the score that the training command returns."""

import json

import pytest
from omegaconf import OmegaConf

from almeta.scripts import train
from tests.forked import forked_command
from tests.small_config import SMALL


@pytest.mark.slow
def test_a_search_names_the_job_of_highest_score(tmp_path, command):
    sweep = ["-m", *SMALL, "batches=2", "hydra.sweep.dir=search"]
    search = ["hydra/sweeper=optuna", "hydra.sweeper.direction=maximize", "hydra.sweeper.sampler.seed=0"]
    trials = ["hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1", "seed=choice(0,1)"]
    rate = ["learning_rate=tag(log,interval(0.001,0.1))"]
    process = forked_command(train, tmp_path, *sweep, *search, *trials, *rate)
    assert process.wait(300) == 0, process.err
    results = OmegaConf.load(tmp_path / "search" / "optimization_results.yaml")
    jobs = {}
    for path in (tmp_path / "search").glob("*/summary.json"):
        config = OmegaConf.load(path.parent / "config.yaml")
        score = json.loads(path.read_text("utf-8"))["train"]["mean_return"]
        jobs[score] = {"seed": config.seed, "learning_rate": config.learning_rate}
    assert len(jobs) == 2
    assert results.best_value == max(jobs)
    assert results.best_params == jobs[max(jobs)]
