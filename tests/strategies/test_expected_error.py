import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression as Reference
from torch import Tensor

from almeta.errors import AlmetaError
from almeta.geometry import Geometry
from almeta.learners import LogisticRegression, make_learner
from almeta.strategies import expected_error
from almeta.strategies import strategy as strategy_module
from almeta.strategies.batch import DiscriminativeBatch
from almeta.strategies.expected_error import (
    ExpectedErrorReduction,
    ExpectedModelChange,
    expected_loss,
    of_episodes,
    total_variation,
)
from tests.strategies.pools import Prototypes, lay_out, make_pools, refit, utilities_of

THREE = [
    ExpectedErrorReduction(loss="error", over="all"),
    ExpectedErrorReduction(loss="log_loss", over="open"),
    ExpectedModelChange(over="all"),
]
IDS = ["error", "log_loss", "change"]


@dataclass
class Shares:
    """Predicts for every row the share of each class among the labels."""

    shares: Tensor = field(default_factory=lambda: torch.empty(0))

    def fit(self, x, y, weight, num_classes, start=None, generator=None):
        counts = (torch.nn.functional.one_hot(y, num_classes) * weight[..., None]).sum(1)
        return Shares(counts / counts.sum(1, keepdim=True))

    def probabilities(self, x):
        return self.shares[:, None].expand(-1, x.shape[1], -1)


def test_by_hand():
    """Labels 0, 0 and 1: (2/3, 1/3). With another 0 it is (3/4, 1/4), with another 1 (1/2, 1/2).

    The expected error is 2/3 * 1/4 + 1/3 * 1/2 = 1/3; the expected change 2/3 * 1/12 + 1/3 * 1/6 = 1/9.
    """
    exists = torch.ones(1, 5, dtype=torch.bool)
    y = torch.tensor([[0, 0, 1, 0, 0]])
    pools = lay_out(torch.zeros(1, 5, 1), y, exists, torch.tensor([2]), torch.tensor([[0, 1, 2]]), 2)
    state = refit(replace(pools.state, learner=Shares()))
    assert ExpectedErrorReduction(loss="error").score(state)[0].tolist() == pytest.approx([0, 0, 0, -1 / 3, -1 / 3])
    assert ExpectedModelChange().score(state)[0].tolist() == pytest.approx([0, 0, 0, 1 / 9, 1 / 9])
    entropies = [-sum(p * math.log(p) for p in shares) for shares in ((0.75, 0.25), (0.5, 0.5))]
    wanted = -(2 / 3 * entropies[0] + 1 / 3 * entropies[1])
    assert ExpectedErrorReduction().score(state)[0].tolist() == pytest.approx([0, 0, 0, wanted, wanted])


def test_expected_loss_and_total_variation_by_hand():
    p = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    assert expected_loss(p, "error").tolist() == [0.5, 0]
    assert expected_loss(p, "log_loss").tolist() == pytest.approx([1.5 * math.log(2), 0])
    assert total_variation(p[0], p[1]) == 0.5


def direct(strategy, state, fit):
    """The scores of the rows of the first pool, one refit after the other; `fit` returns probabilities of all rows."""
    x, y = state.x[0].double().numpy(), state.labels[0].numpy()
    known = np.flatnonzero(y >= 0)
    before = fit(x[known], y[known], x)
    counted = state.available[0].numpy() if strategy.over == "open" else np.ones(len(x), dtype=bool)
    scores = np.zeros(len(x))
    for row in range(len(x)):
        for label in range(before.shape[1]):
            after = fit(np.append(x[known], x[[row]], 0), np.append(y[known], label), x)
            if isinstance(strategy, ExpectedModelChange):
                value = 0.5 * np.abs(after - before).sum(1)
            elif strategy.loss == "error":
                value = after.max(1) - 1
            else:
                value = np.sum(after * np.log(after + 1e-300), 1)
            scores[row] += before[row, label] * value[counted].mean()
    return scores


def refit_by_scikit(x, y, rows):
    return Reference(tol=1e-10, max_iter=10_000).fit(x, y).predict_proba(rows)


@pytest.mark.parametrize("strategy", THREE, ids=IDS)
def test_values_against_refits_by_scikit_learn(strategy):
    pools = make_pools((12,), (3,), (3,), (6,), seed=3)
    state = refit(replace(pools.state, learner=LogisticRegression(tol=1e-6)))
    assert (state.probabilities > 0).all()  # all classes were seen
    left = state.available[0].numpy()
    scores = strategy.score(state)[0].numpy()[left]
    assert scores == pytest.approx(direct(strategy, state, refit_by_scikit)[left], abs=1e-5)
    assert scores.std() > 1e-3


@pytest.mark.parametrize("strategy", THREE, ids=IDS)
def test_values_with_padding_and_picks_that_wait(strategy):
    pools = make_pools((9, 14), (2, 3), (3, 2), (5, 4))
    rows = [int(pool.nonzero()[1]) for pool in pools.state.available]
    together = strategy.score(pools.pick(rows).state)

    def fit(x, y, rows):
        x, rows = (torch.from_numpy(part).float()[None] for part in (x, rows))
        model = Prototypes().fit(x, torch.from_numpy(y)[None], torch.ones(1, len(y)), 3)
        return model.probabilities(rows)[0].double().numpy()

    alone = pools.pick(rows).state
    alone = replace(alone, **{name: getattr(alone, name)[:1, :9] for name in ("x", "exists", "labels", "available")})
    left = alone.available[0].numpy()
    assert together[0, :9].numpy()[left] == pytest.approx(direct(strategy, alone, fit)[left], abs=1e-5)


@pytest.mark.parametrize("method, loss", [("misclassification_loss", "error"), ("log_loss", "log_loss")])
def test_values_against_scikit_activeml(method, loss):
    theirs = pytest.importorskip("skactiveml.pool").MonteCarloEER(method=method, random_state=0)
    classifier = pytest.importorskip("skactiveml.classifier").SklearnClassifier
    pools = make_pools((30,), (4,), (3,), (8,))
    state = refit(replace(pools.state, learner=LogisticRegression()))
    y = np.where(state.labels[0] < 0, np.nan, state.labels[0])
    wrapped = classifier(Reference(tol=1e-8, max_iter=1000), classes=[0, 1, 2])
    _, wanted = theirs.query(state.x[0].double().numpy().copy(), y, wrapped, return_utilities=True)
    ours = ExpectedErrorReduction(loss=loss, over="all").score(state)[0].numpy()
    left = state.available[0].numpy()
    assert 30 * ours[left] == pytest.approx(wanted[0][left], abs=0.03)
    assert spearmanr(ours[left], wanted[0][left]).statistic > 0.99


@pytest.mark.parametrize("strategy", THREE, ids=IDS)
def test_blocks_change_nothing(strategy, monkeypatch):
    state = make_pools().state
    whole = strategy.score(state)
    for size in (1000, 1):  # of candidates, and of pools
        monkeypatch.setattr(expected_error, "_BLOCK", size)
        torch.testing.assert_close(strategy.score(state), whole, atol=1e-6, rtol=1e-5)


@dataclass
class Sizes(Prototypes):
    """Remembers how many classifiers it has fit at a time, and to how many rows."""

    fits: list[tuple[int, ...]] = field(default_factory=list)

    def fit(self, x, y, weight, num_classes, start=None, generator=None):
        self.fits.append(tuple(y.shape))
        return super().fit(x, y, weight, num_classes)


def test_rows_that_may_be_picked_are_refit_and_no_others(monkeypatch):
    pools = make_pools((14, 11), labelled=(9, 8), classes=(3, 3))
    for block, fits in ((expected_error._BLOCK, [(2 * 5 * 3, 10)]), (1, [(3, 10)] * 10)):
        learner = Sizes()
        monkeypatch.setattr(expected_error, "_BLOCK", block)
        ExpectedErrorReduction().score(replace(pools.state, learner=learner))
        assert learner.fits == fits


@pytest.mark.parametrize("name", ["mlp", {"name": "random_forest", "n_estimators": 5}])
@pytest.mark.parametrize("strategy", [*THREE, DiscriminativeBatch()], ids=[*IDS, "batch"])
def test_a_learner_that_draws_is_refused(strategy, name):
    state = replace(make_pools().state, learner=make_learner(name))
    with pytest.raises(
        AlmetaError, match=f"{strategy.name} compares fits of the learner, and those of .* differ by ch"
    ):
        utilities_of(strategy, state)


@pytest.mark.parametrize("name", ["logistic_regression", "ridge", "prototype", "nearest_neighbours", "svc"])
def test_a_learner_without_chance_is_not_refused(name):
    for strategy in (ExpectedModelChange(), DiscriminativeBatch()):
        strategy.check(replace(make_pools().state, learner=make_learner(name)))


def test_of_a_large_pool_some_rows_count():
    state = make_pools((40,), (3,), (3,), (5,)).state
    geometry = Geometry(state.x, state.exists, reference=15)
    among = torch.zeros(1, 40, dtype=torch.bool).index_fill(1, geometry.reference[0], True)
    both = state.available & among
    wanted = ExpectedErrorReduction().score(replace(state, available=both))[both]
    scores = ExpectedErrorReduction().score(replace(state, geometry=geometry))
    torch.testing.assert_close(scores[both], wanted)
    assert (scores[state.available] < 0).all()


def test_refits_begin_at_the_present_model():
    starts = []

    class Watched(LogisticRegression):
        def fit(self, x, y, weight, num_classes, start=None, generator=None):
            starts.append(start)
            return super().fit(x, y, weight, num_classes, start, generator)

    state = make_pools((9, 9), (2, 2), (2, 2), (3, 3)).state
    state = refit(replace(state, learner=Watched()))
    ExpectedErrorReduction().score(state)
    assert starts[0] is None
    model: Any = state.model
    torch.testing.assert_close(starts[1].weights, model.weights.repeat_interleave(12, 0))
    torch.testing.assert_close(starts[1].state.bias, model.state.bias.repeat_interleave(12, 0))


def test_some_episodes_of_a_model():
    model = (torch.tensor([[1.0], [2.0]]), "name", Shares(torch.tensor([[0.1], [0.2]])))
    pair, name, shares = of_episodes(model, torch.tensor([1, 1, 0]))
    assert pair.flatten().tolist() == [2, 2, 1]
    assert name == "name"
    assert shares.shares.flatten().tolist() == pytest.approx([0.2, 0.2, 0.1])


def test_it_is_tried_once_for_the_same_pools_whether_the_learner_draws(monkeypatch):
    tried: list[Any] = []
    monkeypatch.setattr(strategy_module, "draws", lambda learner, *rows: tried.append(learner))
    state, strategy = make_pools().state, ExpectedErrorReduction()
    other = replace(state, learner=Prototypes())
    for one in (state, state, other, other, state):
        strategy.check(one)
    assert tried == [state.learner, other.learner]
