"""Rules of every kind of problem play the same tasks; what does not fit is told before anything is played."""

import itertools
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from almeta.data import load_dataset
from almeta.envs import ClassOptions, ClassSimulation, FeatureOptions, FeatureSimulation
from almeta.envs.scores import ScoreName
from almeta.errors import AlmetaError
from almeta.evaluation.curves import check_curves
from almeta.evaluation.playing import task_seed
from almeta.evaluation.suites import Rule, SuiteSetting, play_suite
from almeta.learners import Prototype
from almeta.seeding import make_generator
from almeta.specs import Spec
from almeta.strategies.class_shares import make_class_strategy
from almeta.strategies.features import make_cell_strategy
from almeta.training.rollout import learning_curves

BALANCED: ScoreName = "balanced_accuracy"
CLASSES = ClassOptions(budget=6, query_size=3, max_test=40)
CELLS = FeatureOptions(pool_size=10, max_features=4, budget=3, price=0.01)
SETTINGS = {
    "classes": SuiteSetting(
        partial(ClassSimulation, measures=(BALANCED,)), CLASSES, Prototype(), ("accuracy", BALANCED), repeats=4
    ),
    "features": SuiteSetting(FeatureSimulation, CELLS, Prototype(), ("score_less_price", "accuracy"), repeats=4),
}


def rules(kind, *names):
    return [Rule(Spec(name), make_class_strategy if kind == "classes" else make_cell_strategy) for name in names]


@pytest.mark.parametrize(
    "kind, names, length, further",
    [("classes", ("random", "uniform"), 7, BALANCED), ("features", ("random", "cheapest"), 4, "accuracy")],
)
def test_everybody_plays_the_same_tasks_whoever_else_plays(kind, names, length, further):
    both = play_suite(["iris"], rules(kind, *names), SETTINGS[kind])
    assert list(both) == ["dataset", "strategy", "repeat", "queries", "score", further]
    assert list(both["strategy"].unique()) == list(names) and len(both) == 2 * 4 * length
    starts = both[both["queries"] == 0].pivot(index="repeat", columns="strategy", values="score")
    np.testing.assert_array_equal(starts[names[0]], starts[names[1]])
    alone = play_suite(["iris"], rules(kind, names[0]), SETTINGS[kind])
    pd.testing.assert_frame_equal(alone, both[both["strategy"] == names[0]])


def test_curves_are_those_of_the_simulation():
    noted = []
    curves = play_suite(
        ["iris"],
        rules("classes", "uniform", "random"),
        SETTINGS["classes"],
        note=lambda name, simulation: noted.append((name, simulation.finished)),
    )
    assert noted == [({"dataset": "iris", "strategy": name}, True) for name in ("uniform", "random")]
    played = curves[curves["strategy"] == "uniform"].pivot(index="queries", columns="repeat", values="score")
    simulation = ClassSimulation([load_dataset("iris")], CLASSES, 4, make_generator(0, "classes of iris"), Prototype())
    tasks = simulation.sampler.draw_seeded([task_seed(0, "iris", repeat) for repeat in range(4)])
    actor, generator = make_class_strategy("uniform"), make_generator(0, "uniform on iris")
    expected = learning_curves(simulation, actor, generator, tasks)
    torch.testing.assert_close(torch.tensor(played.to_numpy(), dtype=torch.float32), expected)


def test_the_score_is_less_the_price_of_cells():
    contenders = rules("features", "random", "cheapest")
    table = check_curves(play_suite(["iris"], contenders, SETTINGS["features"]), ["accuracy"])
    paid = (table["accuracy"] - table["score"]).groupby([table["strategy"], table["repeat"]]).agg(list)
    for prices in paid:
        assert prices[0] == 0 and all(a < b for a, b in itertools.pairwise(prices))
    assert all(paid["cheapest", repeat][-1] <= paid["random", repeat][-1] + 1e-9 for repeat in range(4))


@pytest.mark.parametrize(
    "kind, env, says",
    [
        ("classes", ClassOptions(budget=95), "env.budget=95, but data set 'iris' has 84 rows to give"),
        (
            "features",
            FeatureOptions(pool_size=12, budget=50),
            "env.budget=50, but 32 cells of data set 'iris' are missing",
        ),
    ],
)
def test_a_data_set_that_does_not_fit_is_told_before_anything_is_played(kind, env, says, monkeypatch):
    """Of the second data set, which has fewer rows or columns than the first."""
    played = []
    monkeypatch.setattr(SuiteSetting, "play", lambda *_: played.append(1))
    setting = SuiteSetting(SETTINGS[kind].simulate, env, Prototype(), ("accuracy",), repeats=2)
    with pytest.raises(AlmetaError, match=says):
        play_suite(["wine", "iris"], rules(kind, "random"), setting)
    assert not played


@pytest.mark.parametrize("kind, message", [("classes", "class strategy 'randm'"), ("features", "of cells 'randm'")])
def test_an_unknown_rule_is_told_when_it_is_named(kind, message):
    with pytest.raises(AlmetaError, match=f"unknown .*{message}"):
        rules(kind, "randm")
