"""Benchmarks on numbers go through the same commands, cells and reports as those on classes."""

import pandas as pd
import pytest

from almeta.errors import AlmetaError
from almeta.runs.config import BenchmarkConfig
from almeta.runs.pools import benchmark
from tests.small_config import compose_config

TINY = ("budget=3", "repeats=2", "env.pool_size=20", "env.max_test=20", "env.num_first=3", "datasets=[waves]")
NUMBERS = ("learner=ridge_regression", "scores=[neg_rmse,r2]")


def run(folder, *overrides):
    return benchmark(BenchmarkConfig.read(compose_config(*TINY, *overrides, command="benchmark")), folder)


@pytest.mark.usefixtures("quick_figures")
def test_strategies_are_compared_by_errors(tmp_path):
    summary = run(tmp_path, *NUMBERS, "strategies=[gsx]", "learners=[gaussian_process]")
    assert summary["measure"] == "neg_rmse"
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert set(curves["strategy"]) == {
        f"{name}{by}" for name in ("random", "gsx") for by in ("", " with gaussian_process")
    }
    assert (curves["score"] < 0).all() and (curves["r2"] <= 1).all()
    assert (tmp_path / "learning_curves_r2.png").exists()


@pytest.mark.usefixtures("quick_figures")
def test_the_study_has_its_settings_and_says_what_came_out(tmp_path):
    tiny = ("budget=2", "repeats=2", "env.pool_size=20", "env.max_test=20", "datasets=[waves]")
    asked = "strategies=[predictive_variance,committee_variance,gsx,igs]"
    config = compose_config("experiment=study/regression", *tiny, asked, command="benchmark")
    summary = benchmark(BenchmarkConfig.read(config), tmp_path)
    rows = {(row["setting"], row["strategy"]): row for row in summary["settings"]}
    assert len(rows) == 4 * 5
    assert rows["clean", "random"]["noisy_region"] == 0 <= rows["noisy region", "random"]["noisy_region"]
    (answer,) = summary["verdict"]
    assert "noisy region: committee_variance over random" in answer and "of noisy region, noisy region: " in answer


@pytest.mark.parametrize(
    "overrides, message",
    [
        ((), "data set 'waves' has numbers as targets; accuracy scores classes: choose learner=gaussian_process and"),
        ((*NUMBERS, "strategies=[margin]"), "strategy margin is for classes, and targets are numbers; choose"),
        ((*NUMBERS, "datasets=[iris]"), "data set 'iris' has classes as targets; neg_rmse scores numbers"),
        ((*NUMBERS, "policies=[transfer]", "strategies=[]"), "has numbers as targets; policy transfer is for classes"),
        (("strategies=[igs]", "datasets=[iris]"), "strategy igs is for numbers, and targets are classes; choose"),
        ((*NUMBERS, "oracle=noisy"), "oracle.noise=0.1 is about shares of wrong classes"),
        (
            (*NUMBERS, "question={text: '?', pairs: [], measures: {r3: [[random, random]]}}"),
            "question.measures names 'r3', but the further measures are ",
        ),
    ],
)
def test_what_does_not_fit_is_told_before_a_cell_is_played(overrides, message, tmp_path):
    with pytest.raises(AlmetaError, match=message):
        run(tmp_path, *overrides)
    assert not (tmp_path / "cells.sqlite").exists()
