"""Pools whose targets are numbers: held to a plain loop over scikit-learn, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.linear_model import Ridge as Reference

from almeta.data import Dataset, load_dataset
from almeta.envs.pool import PoolOptions, PoolSelectionEnv, PoolSimulation
from almeta.envs.table_stream import TableStreamSimulation
from almeta.errors import AlmetaError
from almeta.learners import GaussianProcess, LogisticRegression, RidgeRegression
from almeta.oracles import Oracle
from almeta.pool import Pool
from almeta.seeding import make_generator
from almeta.strategies import make_strategy
from almeta.training.rollout import learning_curves, record_pools


def tables():
    """Two of different size and width."""
    small = load_dataset("friedman", n=60, features=5)
    return [load_dataset("diabetes_progression"), Dataset("small", small.x, small.y, (), "random numbers")]


def simulate(learner=None, oracle=None, measures=(), judge=None, **options):
    known: dict[str, Any] = {
        "pool_size": 30,
        "max_test": 50,
        "budget": 6,
        "num_first": 3,
        "score": "neg_rmse",
    }
    learner = learner or RidgeRegression()
    generator = make_generator(0, "env")
    return PoolSimulation(tables(), PoolOptions(**(known | options)), 6, generator, learner, oracle, measures, judge)


@pytest.mark.parametrize("query_size", [1, 3])
def test_scores_are_those_of_a_plain_loop_with_the_same_picks(query_size):
    simulation, rng = simulate(measures=["r2"], query_size=query_size), np.random.default_rng(0)
    state, tasks = simulation.reset(), simulation.tasks
    assert len(set(tasks.names)) == 2 and state.labels.dtype == torch.float32
    labels = [{int(row): float(tasks.y[e, row]) for row in tasks.first[e]} for e in range(6)]
    before, told = simulation.score, [dict(one) for one in labels]
    for time in range(1, 7):
        rows = [rng.choice(np.flatnonzero(open_rows)) for open_rows in simulation.state().available.numpy()]
        outcome = simulation.step(torch.tensor(rows))
        for e, row in enumerate(rows):
            told[e][int(row)] = float(tasks.y[e, row])
        if time % query_size == 0:
            labels = [dict(one) for one in told]
        torch.testing.assert_close(outcome.reward, simulation.score - before)
        before = simulation.score
        for e in range(6):
            known, there = list(labels[e]), tasks.test_exists[e]
            model = Reference(alpha=1.0).fit(tasks.x[e, known].numpy(), list(labels[e].values()))
            said, y = model.predict(tasks.test_x[e, there].numpy()), tasks.test_y[e, there].numpy()
            expected = -metrics.root_mean_squared_error(y, said), metrics.r2_score(y, said)
            found = [float(simulation.scores[name][e]) for name in ("neg_rmse", "r2")]
            assert found == pytest.approx(expected, abs=1e-4)
    state = simulation.state()
    assert state.is_labelled.sum(1).tolist() == [9] * 6 and not state.available[state.is_labelled].any()
    assert state.prediction is not None and state.prediction.mean.shape == state.labels.shape
    assert state.probabilities.shape == (*state.labels.shape, 0)


def test_declined_numbers_are_picks_without_a_label():
    simulation = simulate(oracle=Oracle(decline=1.0))
    before = simulation.reset()
    outcome = simulation.step(before.available.float().argmax(1))
    assert outcome.declined.all() and (outcome.reward == 0).all()
    state = simulation.state()
    assert state.is_labelled.sum(1).tolist() == [3] * 6
    assert state.counted_picks.sum(1).tolist() == [3] * 6


def test_answers_with_noise_are_counted():
    simulation = simulate(oracle=Oracle(region="random", region_share=0.5), measures=["wrong_answers"])
    simulation.reset()
    noisy = simulation.answers.labels != simulation.tasks.y
    asked = torch.zeros(6, dtype=torch.long)
    for time in range(1, 7):
        rows = simulation.state().available.float().argmax(1)
        simulation.step(rows)
        asked += noisy.gather(1, rows[:, None])[:, 0]
        torch.testing.assert_close(simulation.scores["wrong_answers"], asked / time)
    assert 0 < asked.sum() < 36


def test_another_learner_of_numbers_may_judge():
    simulation, judged = simulate(), simulate(learner=GaussianProcess(), judge=RidgeRegression())
    for one in (simulation, judged):
        one.reset()
        one.step(one.state().available.float().argmax(1))
    torch.testing.assert_close(simulation.score, judged.score)


@pytest.mark.parametrize(
    "name", ["random", "core_set", "robust_core_set", "typiclust", "gsx", "igs", "predictive_variance"]
)
def test_strategies_play(name):
    curves = learning_curves(simulate(), make_strategy(name), make_generator(0, "ties"))
    assert curves.shape == (7, 6) and curves.isfinite().all()


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "information_density", "base": "predictive_variance"},
        {"name": "ranked_batch", "base": "igs"},
        {"name": "diverse_mini_batch", "base": "committee_variance"},
        {"name": "blend", "strategies": ["gsx", "gsy"]},
        {"name": "schedule", "first": "gsx", "then": "igs", "after": 2},
    ],
    ids=lambda strategy: strategy["name"],
)
def test_strategies_that_are_made_of_others_are_for_what_these_are(strategy):
    assert make_strategy(strategy).targets == ("numbers",)
    assert learning_curves(simulate(), make_strategy(strategy), make_generator(0, "ties")).isfinite().all()


def test_variance_by_row_asks_where_the_noise_is():
    """The collapse: one noise for all does not see the region; noise by row, and a committee, spend queries there."""
    waves = load_dataset("waves", n=300)
    options = PoolOptions(pool_size=150, max_test=100, budget=30, num_first=5, score="neg_rmse")
    oracle = Oracle(region="random", region_deviation=3.0)

    def share(learner, strategy):
        simulation = PoolSimulation([waves], options, 8, make_generator(0, "env"), learner, oracle, ["wrong_answers"])
        actor, ties = make_strategy(strategy, make_generator(0, "strategy")), make_generator(0, "ties")
        return float(record_pools(simulation, actor, ties, measures=["wrong_answers"]).scores[0, -1].mean())

    fixed: dict[str, Any] = {"length_scale": 0.5, "noise": 0.1}
    alike, by_row = (share(GaussianProcess(**fixed, noise_by_row=by), "predictive_variance") for by in (False, True))
    assert alike < 0.32 and by_row > alike + 0.1
    assert share(GaussianProcess(**fixed), "committee_variance") > alike + 0.1


# ---- what is refused

WRONG = {
    "learner": (
        {"learner": LogisticRegression()},
        "has numbers as targets; LogisticRegression learns classes: choose le",
    ),
    "score": (
        {"score": "accuracy"},
        "has numbers as targets; accuracy scores classes: choose learner=gaussian_process a",
    ),
    "measure": ({"measures": ["macro_f1"]}, "has numbers as targets; macro_f1 scores classes: .* env.score=neg_rmse"),
    "judge": ({"judge": LogisticRegression()}, "has numbers as targets; LogisticRegression learns classes"),
}


@pytest.mark.parametrize("parts, message", WRONG.values(), ids=WRONG)
def test_what_is_for_classes_is_refused(parts, message):
    with pytest.raises(AlmetaError, match=f"data set 'diabetes_progression' {message}"):
        simulate(**parts)


def test_classes_are_refused_where_numbers_are_needed():
    options = PoolOptions(score="neg_rmse")
    with pytest.raises(
        AlmetaError, match="data set 'iris' has classes as targets; neg_rmse scores numbers: choose lea"
    ):
        PoolSimulation([load_dataset("iris")], options)
    with pytest.raises(
        AlmetaError, match="data set 'iris' has classes as targets; GaussianProcess learns numbers: choo"
    ):
        PoolSimulation([load_dataset("iris")], learner=GaussianProcess())


def test_a_goal_below_0_is_refused():
    with pytest.raises(AlmetaError, match="env.reward_target is a share of a score, and neg_rmse is below 0"):
        PoolOptions(score="neg_rmse", reward_target=0.9)


def test_streams_and_policies_are_for_classes():
    with pytest.raises(AlmetaError, match="has numbers as targets; a stream is for classes"):
        TableStreamSimulation(tables())
    env = PoolSelectionEnv("waves", learner="ridge_regression", score="r2", num_first=3)
    with pytest.raises(AlmetaError, match="the targets are numbers, and Candidates reads class probabilities"):
        env.reset(seed=0)


def pool_of_numbers(**changes):
    x, exists = torch.arange(4.0).reshape(1, 4, 1), torch.ones(1, 4, dtype=torch.bool)
    parts: dict[str, Any] = {
        "picks": torch.tensor([[0]]),
        "labels": torch.tensor([[0.5]]),
        "learner": RidgeRegression(),
    } | changes
    return Pool(x, exists, parts["picks"], parts["labels"], torch.tensor([0]), parts["learner"])


def test_a_pool_is_told_numbers():
    pool = pool_of_numbers()
    pool.tell(torch.tensor([2]), torch.tensor([-1.5]))
    pool.tell(torch.tensor([1]), torch.tensor([torch.nan]))
    assert pool.state().labels.nan_to_num(9).tolist() == [[0.5, 9, -1.5, 9]]
    assert pool.state().available.tolist() == [[False, False, False, True]]
    assert pool.outputs(pool.x).shape == (1, 4)


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"learner": LogisticRegression()},
            "the targets are numbers, and LogisticRegression learns classes; .*gaussian",
        ),
        ({"labels": torch.tensor([[1]])}, "the targets are classes, and RidgeRegression learns numbers; .*logistic"),
        ({"labels": torch.tensor([[torch.inf]])}, "a label is infinite; labels are numbers here, or NaN for none"),
        ({"labels": torch.tensor([[1.0]]).double()}, "labels torch.float64; they must be int64 and float32"),
    ],
)
def test_wrong_numbers_are_told(change, message):
    with pytest.raises(AlmetaError, match=message):
        pool_of_numbers(**change)
