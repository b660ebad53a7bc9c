"""Runs on tables with missing cells: trained, resumed, judged, and told what does not fit."""

import itertools
import json
from typing import Any

import gymnasium as gym
import pandas as pd
import pytest
import torch

from almeta.data.suites import folds
from almeta.errors import AlmetaError, Interrupted
from almeta.policies import find_policy, kind_of, load_policy
from almeta.policies.published import publish
from almeta.runs import find_run, run_of
from almeta.runs.config import EvaluateConfig, TrainConfig
from almeta.runs.features import FeaturesRun
from almeta.runs.training import train
from almeta.training import trainer
from tests.small_config import compose_config, small_config

SMALL = (
    "experiment=study/features",
    "dataset.suite=[iris,wine]",
    "dataset.num_folds=2",
    "env.group=2",
    "env.pool_size=10",
    "env.max_features=4",
    "env.max_test=20",
    "env.budget=3",
    "env.synthetic=0",
    "learner=prototype",
    "final_episodes=4",
)


def config(*overrides):
    return TrainConfig.read(small_config(*SMALL, *overrides))


def weights(folder):
    return torch.load(folder / "last.pt", weights_only=True)["agent"]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **options: file.write(b"\x89PNG"))


@pytest.mark.usefixtures("quick")
def test_the_study_trains_resumes_and_is_judged_as_by_evaluate(tmp_path, monkeypatch):
    whole, parted, judged = (tmp_path / name for name in ("whole", "parted", "judged"))
    for folder in (whole, parted, judged):
        folder.mkdir()
    assert run_of(config()) is FeaturesRun
    summary = train(config(), whole)
    explore, calls = trainer.explore, itertools.count(1)

    def stop_in_batch_3(*args):
        if next(calls) == 3:
            raise KeyboardInterrupt
        return explore(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "explore", stop_in_batch_3)
        with pytest.raises(Interrupted):
            train(config(), parted)
    assert train(config(), parted) == summary
    torch.testing.assert_close(weights(parted), weights(whole), rtol=0, atol=0)

    # it is judged on the fold that it never saw, by name and beside all rules
    (test,) = folds(("iris", "wine"), 2, 0)[0]
    policy = find_policy(whole, kind="features")
    assert kind_of(whole) == "features" and policy.members[0].trained_on == {"iris", "wine"} - {test}
    assert list(summary["benchmark"]["datasets"]) == [test]
    names = {row["strategy"] for row in summary["benchmark"]["strategies"]}
    rules = {"random", "cheapest", "most_uncertain_row", "expected_utility", "expected_utility(cost_aware=False)"}
    assert names == rules | {"policy"}
    (sentence,) = [one for one in summary["benchmark"]["verdict"] if one.startswith("Which cells are worth")]
    assert "policy over random" in sentence and "policy over expected_utility " in sentence
    table = pd.read_csv(whole / "curves.csv")
    assert {"dataset", "strategy", "repeat", "queries", "score", "accuracy"} == set(table)
    for name in ("learning_curves.png", "gain_over_training.png", "report.html", "summary_accuracy.csv"):
        assert (whole / name).stat().st_size

    asked = compose_config(f"policy={whole}", "repeats=4", command="evaluate")
    again = find_run(kind_of(whole)).judge(EvaluateConfig.read(asked), judged)
    assert again["benchmark"] == summary["benchmark"]
    assert again == json.loads((judged / "summary.json").read_text())
    trained_on = compose_config(
        f"policy={whole}", "dataset=named", f"dataset.name={({'iris', 'wine'} - {test}).pop()}", command="evaluate"
    )
    with pytest.raises(AlmetaError, match="was trained on"):
        FeaturesRun.judge(EvaluateConfig.read(trained_on), judged)
    with pytest.raises(AlmetaError, match="was trained on problems of kind features; a benchmark of pools needs"):
        find_policy(whole)


@pytest.mark.usefixtures("quick")
def test_a_trained_policy_is_published_judged_and_acts_in_the_environment(tmp_path):
    train(config("batches=1", "dataset.fold=null"), tmp_path)
    publish(tmp_path / "last.pt", tmp_path / "cells.json", {})
    card = json.loads((tmp_path / "cells.json").read_text())
    del card["config"]["matmul_precision"]  # as in older cards
    (tmp_path / "cells.json").write_text(json.dumps(card))
    chosen = (f"policy={tmp_path / 'cells.json'}", "dataset=named", "dataset.name=breast_cancer", "repeats=2")
    summary = FeaturesRun.judge(EvaluateConfig.read(compose_config(*chosen, command="evaluate")), tmp_path)
    assert list(summary["benchmark"]["datasets"]) == ["breast_cancer"]
    agent = load_policy(tmp_path / "cells.json")
    options: dict[str, Any] = {"pool_size": 12, "max_features": 5, "budget": 4, "inputs": agent.inputs}
    env = gym.make("almeta:almeta/FeatureAcquisition-v0", dataset="iris", **options)
    observation, info = env.reset(seed=0)
    terminated, memory = False, None
    while not terminated:
        action, memory = agent.predict(observation, memory, action_mask=info["action_mask"])
        observation, _, terminated, _, info = env.step(action)
        assert not info["invalid_action"]


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["name=cheapest"], "name is 'cheapest', which is a strategy; choose another name"),
        (["oracle=noisy"], "oracle is set, but problems of kind features have none"),
        (["network=scorer"], "which is for problems of kind pool, but env is of kind features"),
        (["dataset.fold=7"], "dataset.fold=7, but dataset.num_folds=2"),
        (["learner=mlp"], "strategy expected_utility compares fits of the learner, and those of MLP differ by chance"),
        (["network.prior=margin"], "network.prior is 'margin'; it must be 'uncertainty' or 'effect' or"),
    ],
)
def test_what_does_not_fit_is_told(overrides, message, tmp_path):
    with pytest.raises(AlmetaError, match=message):
        train(config(*overrides), tmp_path)


def test_knobs_of_evaluate_that_mean_nothing_here():
    with pytest.raises(AlmetaError, match="the policy is of kind 'features', where strategies=... means nothing"):
        FeaturesRun.check_knobs(["strategies"])
