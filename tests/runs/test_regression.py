"""Benchmarks on numbers go through the same commands, cells and reports as those on classes."""

import pandas as pd
import pytest

from almeta.errors import AlmetaError
from almeta.evaluation.settings_report import asked_in_settings
from almeta.evaluation.verdict import Question
from almeta.learners import GaussianProcess, RidgeRegression
from almeta.oracles import Oracle
from almeta.runs.config import BenchmarkConfig
from almeta.runs.pools import benchmark, make_setting
from almeta.runs.settings import read_settings
from tests.small_config import compose_config

TINY = ("budget=3", "repeats=2", "env.pool_size=20", "env.max_test=20", "env.num_first=3", "datasets=[waves]")
NUMBERS = ("learner=ridge_regression", "scores=[neg_rmse,r2]")


def run(folder, *overrides):
    return benchmark(BenchmarkConfig.read(compose_config(*TINY, *overrides, command="benchmark")), folder)


@pytest.mark.usefixtures("quick_figures")
def test_strategies_are_compared_by_errors(tmp_path):
    summary = run(tmp_path, *NUMBERS, "strategies=[gsx]")
    assert summary["measure"] == "neg_rmse"
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert set(curves["strategy"]) == {"random", "gsx"}
    assert (curves["score"] < 0).all() and (curves["r2"] <= 1).all()
    assert (tmp_path / "learning_curves_r2.png").exists()


def test_the_parts_of_the_study_fit_together():
    config = BenchmarkConfig.read(compose_config("experiment=study/regression", command="benchmark"))
    assert config.settings and config.question
    settings = {name: make_setting(config, changes) for name, changes in read_settings(config.settings).items()}
    asked = asked_in_settings(Question(**config.question), list(settings), config.strategies)
    asked.check_measures(settings["clean"].measures)
    assert len(asked.pairs) == 7 and len(asked.measures["noisy_region"]) == 2
    assert settings["clean"].env.score == "neg_rmse"
    assert settings["clean"].oracle == Oracle(region="random", region_deviation=0, annotators=[])
    noisy, by_row = settings["noisy region"], settings["noise by row"]
    assert noisy.oracle == by_row.oracle == Oracle(region="random", region_deviation=2, annotators=[])
    assert (noisy.learner, by_row.learner) == (GaussianProcess(), GaussianProcess(noise_by_row=True))
    assert settings["ridge"].learner == RidgeRegression()


@pytest.mark.usefixtures("quick_figures")
def test_noise_in_a_region_is_told_by_its_share_of_queries(tmp_path):
    settings = (
        "settings={clean: {oracle: {region: random, region_deviation: 0}}, "
        "noisy: {oracle: {region: random, region_deviation: 2}}}"
    )
    measured = ("learner=ridge_regression", "scores=[neg_rmse,noisy_region]", "strategies=[gsx]", settings)
    rows = {(row["setting"], row["strategy"]): row for row in run(tmp_path, *measured)["settings"]}
    assert rows["clean", "random"]["noisy_region"] > 0
    assert rows["noisy", "random"]["noisy_region"] == rows["clean", "random"]["noisy_region"]  # the same rows
    assert rows["noisy", "random"]["neg_rmse"] < rows["clean", "random"]["neg_rmse"]


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
