"""Runs on class sampling: what is refused, who is compared, and what a report says of the rows."""

import json

import pandas as pd
import pytest

from almeta.data import load_dataset
from almeta.envs import ClassOptions, ClassSimulation
from almeta.errors import AlmetaError
from almeta.learners import make_learner
from almeta.policies import find_policy, load_policy
from almeta.runs import find_run, run_of
from almeta.runs.classes import ClassRun, class_shares
from almeta.runs.config import EvaluateConfig, TrainConfig
from almeta.runs.training import train
from almeta.seeding import make_generator
from almeta.strategies.class_shares import class_strategy_names, make_class_strategy
from almeta.training.rollout import learning_curves
from tests.small_config import SMALL_POOLS, compose_config, small_config

SMALL = ("experiment=study/classes", *SMALL_POOLS, "env.query_size=2", "batches=2")


def read(*overrides):
    return TrainConfig.read(small_config(*SMALL, *overrides))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **options: file.write(b"\x89PNG"))
        train(read("final_episodes=3", "evaluate_episodes=2"), folder)
    return folder


# --- who is compared ---


def test_shares_of_the_rows():
    simulation = ClassSimulation(
        [load_dataset("wine")], ClassOptions(budget=30, query_size=5, max_test=40), 4, learner=make_learner("prototype")
    )
    shares = {}
    for name in ("uniform", "proportional"):
        learning_curves(simulation, make_class_strategy(name), make_generator(0, "ties"))
        shares[name] = class_shares(simulation)
    assert shares["uniform"]["share_of_rows"].tolist() == pytest.approx([1 / 3] * 3)
    counts = pd.Series(load_dataset("wine").y).value_counts(normalize=True).sort_index()
    assert shares["uniform"]["share_in_data"].tolist() == pytest.approx(counts.tolist())
    assert shares["proportional"]["share_of_rows"].tolist() == pytest.approx(counts.tolist(), abs=0.03)


def test_a_run_compares_its_policy_with_all_rules(finished):
    summary = json.loads((finished / "summary.json").read_text())
    names = {row["strategy"] for row in summary["benchmark"]["strategies"]}
    assert names == {"class_policy", *class_strategy_names()}
    assert summary["benchmark"]["reference"] == "proportional"
    asked, by_balanced = summary["benchmark"]["verdict"][-2:]
    assert asked.startswith("Which classes should be asked for? class_policy over proportional ")
    assert by_balanced.startswith("By balanced_accuracy: class_policy over proportional ")
    for sentence in (asked, by_balanced):
        assert all(f"{name} over " in sentence for name in names - {"random"})
    classes = pd.read_csv(finished / "classes.csv")
    assert set(classes["strategy"]) == names and (finished / "learning_curves_balanced_accuracy.png").exists()
    agent = load_policy(finished)
    assert agent.inputs.kind == find_policy(finished, kind="classes").members[0].kind == "classes"


# --- what is refused ---


def test_a_kind_leads_to_its_run():
    assert find_run("classes") is run_of(read()) is ClassRun


def test_a_policy_is_not_judged_on_what_it_was_trained_on(finished, tmp_path):
    seen = find_policy(finished, kind="classes").members[0].trained_on
    config = compose_config(f"policy={finished}", "dataset=named", f"dataset.name={min(seen)}", command="evaluate")
    with pytest.raises(AlmetaError, match=r"was trained on .*; judge it on other data sets"):
        ClassRun.judge(EvaluateConfig.read(config), tmp_path)


def test_policies_of_other_kinds_are_told_apart(finished):
    with pytest.raises(AlmetaError, match="of kind classes; a benchmark of pools needs a policy of pools"):
        find_policy(finished)
    with pytest.raises(AlmetaError, match="of kind pool; a benchmark of classes needs a policy of classes"):
        find_policy("transfer", kind="classes")


@pytest.mark.parametrize(
    "override, says",
    [
        ("name=uniform", "name is 'uniform', which is a strategy; choose another name"),
        ("oracle=noisy", "oracle is set, but problems of kind classes have none"),
        ("inputs=candidates", "inputs._target_ is 'almeta.inputs.Candidates', which is for problems of kind pool, but"),
        (
            "network=scorer network.prior=margin",
            "network._target_ is 'almeta.agents.PoolScorer', which is for problems of kind pool, but env",
        ),
        ("env.group=1", "env.group is 1, but GroupReinforce compares episodes of one task; set env.group to 2 or more"),
        ("env.budget=40", "env.budget=40, but data set '.*' has .* rows to give beside first and test rows"),
    ],
)
def test_what_does_not_fit_is_told(override, says, tmp_path):
    with pytest.raises(AlmetaError, match=says):
        train(read(*override.split()), tmp_path)


def test_knobs_of_other_kinds_mean_nothing():
    with pytest.raises(AlmetaError, match="of kind 'classes', where strategies=... means nothing; leave it out"):
        ClassRun.check_knobs(["strategies"])
