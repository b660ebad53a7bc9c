"""Rows chosen by several learners, against a direct transcription."""

from dataclasses import replace

import pytest
import torch

from almeta.data import load_dataset
from almeta.envs.pool import PoolOptions, PoolSimulation
from almeta.errors import AlmetaError
from almeta.geometry import Geometry
from almeta.learners import make_learner
from almeta.strategies import make_strategy
from almeta.strategies.several_learners import SeveralLearners
from tests.strategies.pools import make_pools

LEARNERS = ["prototype", "ridge"]


def margins(state, learner, columns):
    """Minus the difference of the two likeliest classes, of each row, by a learner that sees some columns."""
    pools, rows = state.exists.shape
    result = torch.zeros(pools, rows)
    x, y, weight = state.labelled_rows()
    mask = torch.tensor([float(d in columns) for d in range(x.shape[-1])])
    model = make_learner(learner).fit(x * mask, y, weight, state.probabilities.shape[-1])
    probabilities = model.probabilities(state.x * mask)
    for pool in range(pools):
        for row in range(rows):
            first, second = sorted(probabilities[pool, row].tolist(), reverse=True)[:2]
            result[pool, row] = second - first
    return result


def standard(scores, available):
    """Standard scores over the rows that may be picked."""
    result = torch.zeros_like(scores)
    for pool in range(len(scores)):
        of_pool = scores[pool][available[pool]].double()
        result[pool] = ((scores[pool] - of_pool.mean()) / of_pool.std(correction=0)).float()
    return result


def scored(state, combine="add", features="all"):
    strategy = SeveralLearners(learners=LEARNERS, combine=combine, features=features)
    return strategy.step(state, strategy.initial(len(state.x)))[0].utilities


@pytest.mark.parametrize("features", ["all", "split"])
def test_the_sum_is_that_of_standard_scores(features):
    state = make_pools(columns=(4, 3)).state
    columns = [(0, 2), (1, 3)] if features == "split" else [(0, 1, 2, 3)] * 2
    first, second = (margins(state, *seen) for seen in zip(LEARNERS, columns, strict=True))
    expected = standard(first, state.available) + standard(second, state.available)
    found = scored(state, features=features)
    torch.testing.assert_close(found[state.available], expected[state.available], atol=1e-4, rtol=1e-4)


def test_in_turns_one_learner_chooses_a_query():
    state = make_pools().state
    for queries, learner in [(0, 0), (1, 1), (2, 0)]:
        now = replace(state, queries=queries)
        expected = margins(state, LEARNERS[learner], range(9))
        found = scored(now, combine="alternate")
        torch.testing.assert_close(found[state.available], expected[state.available], atol=1e-5, rtol=1e-5)


def test_in_turns_through_a_short_last_query(monkeypatch):
    """25 picks of queries of 10: the third query has 5, and is the third learner's."""
    turns = []

    def scored_by(self, number, state, own=SeveralLearners._scored_by):
        turns.append((state.spent, number))
        return own(self, number, state)

    monkeypatch.setattr(SeveralLearners, "_scored_by", scored_by)
    strategy = SeveralLearners(learners=["prototype", "ridge", "logistic_regression"], combine="alternate")
    options = PoolOptions(pool_size=40, max_test=20, budget=25, query_size=10)
    simulation = PoolSimulation([load_dataset("iris")], options, 2)
    state, memory = simulation.reset(), strategy.initial(2)
    while not simulation.finished:
        outputs, memory = strategy.step(state, memory)
        simulation.step(outputs.utilities.argmax(1))
        state = simulation.state()
    assert turns == [(0, 0), (10, 1), (20, 2)]


def test_a_base_that_measures_distances_sees_the_columns_of_its_learner():
    state = make_pools(columns=(4, 4)).state
    strategy = SeveralLearners(base="information_density", learners=LEARNERS, features="split")
    seen = strategy._seen_by(1, state)
    assert (seen.x[..., [0, 2]] == 0).all()
    assert torch.equal(seen.x[..., [1, 3]], state.x[..., [1, 3]])
    assert isinstance(seen.geometry, Geometry)
    assert seen.geometry.x is seen.x
    assert seen.learner == make_learner("ridge")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"learners": ["ridge"]}, r"learners=\['ridge'\]; name two at least"),
        ({"learners": "ridge"}, "learners is 'ridge'; it must be a list"),
        ({"learners": ["ridge", "rigde"]}, "unknown learner 'rigde'; did you mean 'ridge'"),
        ({"learners": ["ridge", "gaussian_process"]}, "several_learners: gaussian_process learns numbers; name a"),
        ({"base": "badge"}, "base=badge, which chooses the rows of a query together"),
        ({"base": "margn"}, "unknown strategy 'margn'; did you mean 'margin'"),
        ({"combine": "sum"}, "combine is 'sum'"),
    ],
)
def test_wrong_options_are_told(options, message):
    with pytest.raises(AlmetaError, match=message):
        make_strategy("several_learners", **options)
